//! The container image: the same programs give the same bytes, there is nothing in it but them and their libraries, and a
//! runtime of containers runs them as a user without a name, on a read-only file system.

use crate::debian::{file, stripped, tool};
use crate::support::programs::{Port, eventually, give, program};
use crate::support::{Run, run};
use rustix::process::geteuid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The user of the image.
const USER: u32 = 65_534;

/// An unpacked image, and its state in a folder of the host.
struct Image {
    folder: tempfile::TempDir,
}

impl Image {
    /// Builds the image of the programs under test, twice.
    fn new() -> Self {
        assert!(geteuid().is_root(), "containers need root; run this test as root");
        let image = Self { folder: tempfile::tempdir().unwrap() };
        let programs = stripped(image.folder.path());
        let [first, second] = ["first.tar", "second.tar"].map(|name| {
            let path = image.path(name);
            let mut script = tool(file("packaging/oci-image"));
            run(script.args(["--level", "1", "--programs"]).arg(&programs).arg(&path), b"").exits(0);
            fs::read(path).unwrap()
        });
        assert!(first == second, "the image differs from one build to the next");
        fs::create_dir(image.path("layout")).unwrap();
        run(Command::new("tar").arg("-C").arg(image.path("layout")).arg("-xf").arg(image.path("first.tar")), b"")
            .exits(0);
        let layout = format!("{}:mailstamp:{}", image.path("layout").display(), env!("CARGO_PKG_VERSION"));
        let mut unpack = Command::new(program("umoci", "umoci"));
        run(unpack.args(["unpack", "--image", &layout]).arg(image.path("bundle")), b"").exits(0);
        fs::create_dir(image.path("state")).unwrap();
        give(&image.path("state"), USER, USER);
        image
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The runtime, with a container of this name that runs the image's entry point with these arguments. The folder
    /// `demo` is the demonstration; `state` is writable if there is one.
    fn container(&self, name: &str, args: &[&str], state: Option<&Path>) -> Command {
        let path = self.path("bundle/config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let entry = config["process"]["args"][0].clone();
        config["process"]["args"] = json!([entry]);
        config["process"]["args"].as_array_mut().unwrap().extend(args.iter().map(|arg| json!(arg)));
        config["process"]["terminal"] = json!(false);
        config["root"]["readonly"] = json!(true);
        // The host's network, and no limits, which not every machine of tests lets a container have.
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|it| it["type"] != "network");
        config["linux"].as_object_mut().unwrap().remove("resources");
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|it| it["type"] != "cgroup" && it["type"] != "sysfs" && it["type"] != "bind");
        let demo = file("fixtures/demo");
        mounts.push(json!({ "destination": "/demo", "type": "bind", "source": demo, "options": ["bind", "ro"] }));
        if let Some(state) = state {
            mounts.push(json!({ "destination": "/state", "type": "bind", "source": state, "options": ["bind"] }));
        }
        fs::write(path, config.to_string()).unwrap();
        let mut command = self.runtime();
        command.arg("run").arg("--bundle").arg(self.path("bundle")).arg(self.id(name));
        command
    }

    fn runtime(&self) -> Command {
        let mut command = Command::new(program("runc", "runc"));
        command.arg("--root").arg(self.path("runtime"));
        command
    }

    /// No other container of this machine has this name.
    fn id(&self, name: &str) -> String {
        format!("mailstamp-{}-{name}", std::process::id())
    }

    fn run(&self, name: &str, args: &[&str], state: Option<&Path>, stdin: &[u8]) -> Run {
        run(&mut self.container(name, args, state), stdin)
    }
}

/// A container that goes on, and ends with this value.
struct Running<'a> {
    image: &'a Image,
    name: &'a str,
    process: Child,
}

impl Running<'_> {
    fn signal(&self, signal: &str) {
        run(self.image.runtime().arg("kill").arg(self.image.id(self.name)).arg(signal), b"");
    }

    /// What it said, once it has ended.
    fn said(&mut self) -> String {
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.signal("KILL");
            let _ = self.process.wait();
        }
    }
}

#[test]
fn the_container_image_runs_read_only_as_a_user_without_a_name() {
    let image = Image::new();
    let state = image.path("state");

    // What is in it.
    let root = image.path("bundle/rootfs");
    let found = run(Command::new("find").arg(&root).args(["-type", "f", "-printf", "%m %U %P\n"]), b"").exits(0).text();
    for line in found.lines() {
        let (mode, rest) = line.split_once(' ').unwrap();
        let (owner, path) = rest.split_once(' ').unwrap();
        let kind = path.split('/').next().unwrap();
        let expected = ["usr/bin/mailstamp", "usr/bin/mailstamp-tools"].contains(&path)
            || kind.starts_with("lib") && path.contains(".so.")
            || path.starts_with("usr/share/doc/");
        assert!(expected && owner == "0" && ["755", "644"].contains(&mode), "{line}");
    }

    // The demonstration of the README, with the user that the image names.
    let letter = fs::read(file("fixtures/demo/letter.eml")).unwrap();
    let classify = ["--config", "/demo/config.toml", "classify"];
    image.run("first", &classify, Some(&state), &letter).exits(0).says("first-class paid");
    image.run("second", &classify, Some(&state), &letter).exits(0).says("first-class again");
    let used = run(Command::new("find").arg(&state).args(["-type", "f", "-printf", "%U\n"]), b"").exits(0).text();
    assert!(!used.is_empty() && used.lines().all(|owner| owner == USER.to_string()), "{used}");
    // Without a volume nothing can be spent, so the message waits.
    image.run("third", &classify, None, &letter).exits(75);

    // Whatever else it is told to do, by the second program.
    let init = "vendor init --ledger /state/ledger --vendor stamps.example --kid 1 --price";
    let init: Vec<&str> = init.split(' ').chain(["0.10 EUR"]).collect();
    image.run("init", &init, Some(&state), b"").exits(0);
    let port = Port::reserve();
    let address = format!("127.0.0.1:{}", port.number());
    let url = format!("http://{address}");
    let serve = ["vendor", "serve", "--ledger", "/state/ledger", "--listen", &address, "--public-url", &url];
    let mut shop = image.container("shop", &serve, Some(&state));
    let shop = shop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut shop = Running { image: &image, name: "shop", process: shop };
    let page = eventually("the shop's page", || {
        assert!(shop.process.try_wait().unwrap().is_none(), "the shop ended: {}", shop.said());
        let mut connection = TcpStream::connect(&address).ok()?;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: stamps.example\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        Some(answer)
    });
    shop.signal("TERM");
    assert!(shop.process.wait().unwrap().success(), "{}", shop.said());
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("stamps.example"), "{page}");
}
