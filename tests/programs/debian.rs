//! The Debian packages: lintian finds nothing, the same sources give the same bytes, and a machine on which they are
//! installed, upgraded and purged loses no mail and no money. The machine is this one, with a layer over its files that is
//! thrown away. `tests/debian` does the same in a bare Debian with systemd.
//!
//! The packages contain the programs under test. That a release build gives the same bytes twice is tested by
//! `tests/soak packages`.

use crate::support::programs::program;
use crate::support::{MAILSTAMP, MAILSTAMP_TOOLS, Run, run};
use rustix::process::geteuid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the project.
pub fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

/// A command without the variables that cargo gives to this test.
pub fn tool(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir(ROOT).env("LC_ALL", "C.UTF-8");
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "SOURCE_DATE_EPOCH", "MAKEFLAGS"] {
        command.env_remove(variable);
    }
    command
}

/// Both programs under test, without what only a debugger reads.
pub fn stripped(folder: &Path) -> PathBuf {
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    for (from, name) in [(MAILSTAMP, "mailstamp"), (MAILSTAMP_TOOLS, "mailstamp-tools")] {
        run(tool(program("strip", "binutils")).arg("-o").arg(programs.join(name)).arg(from), b"").exits(0);
    }
    programs
}

/// Builds the packages of these programs. The folder is the builder's own, and its name is in no package.
fn build(programs: &Path, out: &Path) {
    fs::create_dir(out).unwrap();
    program("dh", "debhelper");
    let mut script = tool(file("packaging/debian-package"));
    script.arg(out.join("debs")).env("TMPDIR", out).env("MAILSTAMP_PROGRAMS", programs);
    // Speed; what is packed is the same.
    script.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip").env("DPKG_DEB_COMPRESSOR_LEVEL", "1");
    run(&mut script, b"").exits(0);
}

/// The packages in a folder, by name.
fn packages(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder.join("debs")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|it| it == "deb"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Runs the life of the packages over this machine's files, as root, in namespaces that end with it.
fn life(folder: &Path, packages: &Path) -> Run {
    let script = "set -e\n\
        mount --make-rprivate /\n\
        mkdir layer root\n\
        mount -t tmpfs tmpfs layer\n\
        mkdir layer/upper layer/work\n\
        mount -t overlay -o lowerdir=/,upperdir=layer/upper,workdir=layer/work overlay root\n\
        mount -t proc proc root/proc\n\
        mount --rbind /dev root/dev\n\
        mount -t tmpfs tmpfs root/run\n\
        mount -t tmpfs tmpfs root/tmp\n\
        mkdir root/packages\n\
        cp \"$1\"/debs/*.deb root/packages\n\
        cp \"$2\" root/packages/life\n\
        rm -f root/var/lib/man-db/auto-update\n\
        exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot root bash /packages/life\n";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"]).arg(packages);
    command.arg(file("tests/support/debian_packages.sh")).current_dir(folder);
    run(&mut command, b"")
}

#[test]
fn debian_packages_install_upgrade_and_purge() {
    assert!(geteuid().is_root(), "installing packages needs root; run this test as root");
    let folder = tempfile::tempdir().unwrap();
    let programs = stripped(folder.path());
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    thread::scope(|scope| {
        let again = scope.spawn(|| build(&programs, &second));
        build(&programs, &first);
        let lint = scope.spawn(|| {
            let mut lintian = tool(program("lintian", "lintian"));
            lintian.args(["--allow-root", "--fail-on", "error,warning"]);
            run(lintian.args(packages(&first).iter().map(|(name, _)| first.join("debs").join(name))), b"")
        });
        let lived = life(folder.path(), &first);
        assert!(lived.text().ends_with("\ninstalled, upgraded and purged\n"), "{}\n{}", lived.text(), lived.stderr);
        let found = lint.join().unwrap();
        assert_eq!((found.code, found.text().as_str()), (0, ""), "{}", found.stderr);
        again.join().unwrap();
    });
    let (first, second) = (packages(&first), packages(&second));
    let names: Vec<&str> = first.iter().map(|(name, _)| name.split('_').next().unwrap()).collect();
    assert_eq!(names, ["mailstamp-vendor", "mailstamp"]);
    for ((name, bytes), (other, again)) in first.iter().zip(&second) {
        assert!(name == other && bytes == again, "{name} differs from one build to the next");
        let version = name.split('_').nth(1).unwrap().split('-').next().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"), "debian/changelog and Cargo.toml");
    }
}

#[test]
fn apparmor_profiles_are_named_by_the_units_and_compile() {
    let rules = fs::read_to_string(file("debian/rules")).unwrap();
    for name in ["mailstamp-system", "mailstamp-vendor"] {
        let path = file("debian/apparmor").join(name);
        let checked = tool(program("apparmor_parser", "apparmor"))
            .args(["--skip-kernel-load", "--skip-cache"])
            .arg(&path)
            .output();
        let checked = checked.unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        // A profile that is missing or refused does not stop the service, and none attaches to the program itself.
        assert!(rules.contains(&format!("AppArmorProfile=-{name}")), "{name}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("\nprofile {name} flags=(complain) {{\n")), "{name}");
    }
}

#[test]
fn third_party_licences_cover_every_dependency() {
    let list = run(&mut tool(file("packaging/third-party-licenses")), b"").exits(0).text();
    let manifest: toml::Table = fs::read_to_string(file("Cargo.toml")).unwrap().parse().unwrap();
    let lock: toml::Table = fs::read_to_string(file("Cargo.lock")).unwrap().parse().unwrap();
    let locked: Vec<String> = lock["package"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap()))
        .collect();
    let (head, texts) = list.split_once("\nOf ").unwrap();
    let crates: Vec<&str> = head.lines().filter(|line| locked.iter().any(|it| it == line)).collect();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(crates.iter().any(|it| it.split(' ').next() == Some(name)), "{name} is missing");
    }
    for name in &crates {
        let named = |line: &str| line.trim_end_matches(':').trim_start_matches("Of ").split(", ").any(|it| it == *name);
        assert!(texts.lines().any(named), "{name} has no text");
    }
    assert!(crates.len() > 200, "{} crates", crates.len());
    // A script of others, which the shop serves.
    assert!(head.contains("\nhash-wasm 4.13.0\n    MIT\n") && texts.contains("\nOf hash-wasm 4.13.0:\n"), "hash-wasm");
}
