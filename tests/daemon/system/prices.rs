//! Prices that users set through the daemon of the system: real processes of several users of this machine. Needs root,
//! since only root can run them.

use super::Service;
use super::users::{GAMES, MAIL, NEWS, System};
use crate::support::programs::{chmod, give};
use crate::support::{Run, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// A daemon of the user "mail", for a domain in which alice is the user "games".
struct Prices {
    system: System,
    file: PathBuf,
    _service: Service,
}

impl Prices {
    fn begin(more: &str) -> Self {
        let system = System::new();
        let state = system.home.file("state");
        fs::create_dir(&state).unwrap();
        chmod(&state, 0o700);
        let folder = system.home.file("prices");
        fs::create_dir(&folder).unwrap();
        for folder in [&state, &folder] {
            give(folder, MAIL.0, MAIL.0);
        }
        let file = folder.join("list");
        let gateway = "[gateway.inbound]\nlisten = \"127.0.0.1:2525\"\ninner = \"127.0.0.1:2526\"\nprice = 3\n\
                       help = \"https://x.example/mail\"\n";
        system.home.configure(&format!(
            "addresses = [{{ address = \"alice@x.example\", owner = \"games\" }}, \"*@x.example\"]\nstate = {state:?}\n\
             {gateway}{}",
            more.replace("FILE", file.to_str().unwrap())
        ));
        run(std::process::Command::new("chmod").args(["-R", "a+rX"]).arg(system.home.file(".config")), b"").exits(0);
        let config = system.home.config();
        let service = system.serve(MAIL.0, "home-8", &["--config", config.to_str().unwrap(), "serve", "--system"]);
        // Where a client finds the socket.
        let asking = system.home.file("asking");
        fs::create_dir(&asking).unwrap();
        chmod(&asking, 0o755);
        symlink(system.socket(), asking.join("socket")).unwrap();
        Self { system, file, _service: service }
    }

    fn price(&self, uid: u32, args: &[&str]) -> Run {
        let asking = self.system.home.file("asking");
        let args = [&["--state", asking.to_str().unwrap(), "price"], args].concat();
        run(&mut self.system.command(uid, &format!("home-{uid}"), &args), b"")
    }

    fn list(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }
}

// E16, E17, E18
#[test]
fn each_user_sets_prices_of_their_own_mailboxes_and_root_all() {
    let prices = Prices::begin("prices = \"FILE\"");
    let shown = prices.price(GAMES.0, &["show"]).exits(0).text();
    assert_eq!(
        shown, "mailbox          credits  default\nalice@x.example        3\ngames@x.example        3\n",
        "the default of the administrator"
    );
    let several = prices.price(GAMES.0, &["set", "5"]).exits(65);
    assert!(several.stderr.contains("several mailboxes: alice@x.example, games@x.example"), "{}", several.stderr);
    let set = |price, address| prices.price(GAMES.0, &["set", price, "--address", address]);
    assert_eq!(set("5", "Alice@X.example").exits(0).text(), "alice@x.example: 5 credits\n");
    assert_eq!(set("0", "games@x.example").exits(0).text(), "games@x.example: 0 credits\n");
    for foreign in ["news@x.example", "bob@x.example", "alice@y.example", "games+tag@x.example"] {
        let refused = set("9", foreign).exits(77);
        assert!(refused.stderr.contains("no mailbox of yours"), "{}", refused.stderr);
    }
    // Who has one mailbox need not name it.
    assert_eq!(prices.price(NEWS.0, &["set", "1"]).exits(0).text(), "news@x.example: 1 credit\n");
    assert_eq!(prices.list(), "5 alice@x.example\n0 games@x.example\n1 news@x.example\n");

    let unset = prices.price(GAMES.0, &["unset", "--address", "alice@x.example"]).exits(0).text();
    assert_eq!(unset, "alice@x.example: 3 credits, as the administrator says\n");
    assert_eq!(
        prices.price(0, &["set", "7", "--address", "bob@x.example"]).exits(0).text(),
        "bob@x.example: 7 credits\n"
    );
    let all = prices.price(0, &["show", "--json"]).exits(0).text();
    let rows: Vec<serde_json::Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |address: &str| rows.iter().find(|row| row["address"] == address).unwrap();
    assert_eq!((&row("bob@x.example")["price"], &row("bob@x.example")["set"]), (&7.into(), &true.into()));
    assert_eq!((&row("alice@x.example")["price"], &row("alice@x.example")["set"]), (&3.into(), &false.into()));
    assert_eq!(rows.len(), 4, "{all}");

    // The file is the service's: users cannot write it around the daemon.
    let config = prices.system.home.config();
    let args = ["--config", config.to_str().unwrap(), "price", "set", "9", "--address", "bob@x.example"];
    let around = run(&mut prices.system.command(GAMES.0, "home-5", &args), b"").exits(75);
    assert!(around.stderr.contains("Permission denied"), "{}", around.stderr);
    // A damaged file makes no mailbox free, and stays as it is.
    fs::write(&prices.file, "free for all\n").unwrap();
    let damaged = prices.price(NEWS.0, &["set", "1"]).exits(75);
    assert!(damaged.stderr.contains("line 1: not a price"), "{}", damaged.stderr);
    assert_eq!(prices.list(), "free for all\n");
}

#[test]
fn without_a_file_no_user_sets_a_price() {
    let prices = Prices::begin("");
    let off = prices.price(NEWS.0, &["set", "1"]).exits(78);
    assert!(off.stderr.contains("no gateway here takes prices of users"), "{}", off.stderr);
    let alone = run(&mut prices.system.command(NEWS.0, "home-9", &["--state", "/nowhere", "price", "show"]), b"");
    assert!(alone.exits(69).stderr.contains("no daemon of the system is running"));
}
