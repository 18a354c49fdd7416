//! The gateway as a process: its socket, a second one, its end, and configurations that it does not take.

use super::{Outgoing, PAYEE, Scene};
use crate::support::emstamp_server::EmstampServer;
use crate::support::programs::{PATIENCE, chmod};
use crate::support::{Home, run};
use mailstamp::bank::handle::Bank;
use mailstamp::os::clock;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::process::Command;

const PRICES: [(&str, u64); 1] = [("b1@y.example", 3)];

// E1: Postfix by a socket of Unix
#[test]
fn postfix_reaches_a_socket_that_its_group_may_use() {
    let far = EmstampServer::start(PAYEE, &PRICES, None);
    let route = format!("\"y.example\" = \"127.0.0.1:{}\"", far.port());
    let mut scene = Scene::with(100, "tls = \"off\"", far, &route);
    drop(scene.outgoing.take());
    let folder = scene.postfix.file("gateway");
    fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o755);
    let socket = folder.join("emstamp");
    let listen = format!("listen = \"unix:{}\"", socket.display());
    let config = fs::read_to_string(scene.payer.home.config()).unwrap();
    let lines = config.lines().map(|line| if line.starts_with("listen = ") { listen.as_str() } else { line });
    scene.payer.home.configure(&lines.collect::<Vec<_>>().join("\n"));
    let transport = format!("default_transport=lmtp:unix:{}", socket.display());
    scene.postfix.set(&transport);
    // A socket that a killed process left is replaced.
    Outgoing::start(&scene.payer).kill();
    let outgoing = Outgoing::start(&scene.payer);
    run(Command::new("chgrp").arg("postfix").arg(&socket), b"").exits(0);
    scene.send("unix", &["b1@y.example"]);
    scene.outcome("b1@y.example", "sent", 1);
    scene.settled(3);

    let second = scene.payer.home.run(["gateway"], b"").exits(78);
    assert!(second.stderr.contains(&format!("gateway.outbound: cannot listen at unix:{}", socket.display())));
    assert!(socket.exists());
    assert_eq!(outgoing.end(), Some(0));
    assert!(!socket.exists());
    scene.send("later", &["free@y.example"]);
    scene.outcome("free@y.example", "deferred", 1);
    scene.outgoing = Some(Outgoing::start(&scene.payer));
    run(Command::new("chgrp").arg("postfix").arg(&socket), b"").exits(0);
    scene.outcome("free@y.example", "sent", 1);
    scene.clear();
}

#[test]
fn what_it_cannot_use_it_names() {
    let home = Home::bare();
    let says = |config: &str, code: i32, said: &str| {
        home.configure(config);
        let told = home.run(["gateway"], b"").exits(code);
        assert!(told.stderr.contains(said), "{}", told.stderr);
    };
    says("", 78, "no gateway is configured: write [gateway.inbound], [gateway.outbound], or both");
    let routes = "[gateway.outbound.routes]\n\"y.example\" = \"mx.y.example:25\"\n";
    let outbound = format!("[gateway.outbound]\nlisten = \"inet:127.0.0.1:0\"\n{routes}");
    says(&outbound, 66, "no bank; `mailstamp bank init` creates one");
    Bank::new(&home.state(), PATIENCE).found("stamps.example", "shop", clock::now()).unwrap();
    let authority = home.file("ca.pem");
    fs::write(&authority, "none").unwrap();
    let with_ca = outbound.replace("[gateway.outbound.", &format!("ca = {authority:?}\n[gateway.outbound."));
    says(&with_ca, 78, "ca.pem: contains no certificate");
}

impl Outgoing {
    /// Asks it to end, and returns its status.
    fn end(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}
