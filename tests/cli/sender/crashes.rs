//! Answers that are cut off, and a buyer that is killed at every system call: the vendor's ledger shows one purchase.

use super::{customer, sold, tokens};
use crate::support::shop::{Shop, cutting};
use crate::support::{Home, letter, run, traced_with};

// Threat 22
#[test]
fn a_storm_of_lost_answers_is_charged_once() {
    let shop = Shop::open(100, &["--key-rate", "0"]);
    let home = customer(
        &shop,
        // All but every eleventh.
        cutting(shop.address, |length, before| match before % 11 {
            10 => length,
            odd if odd % 2 == 1 => length / 2,
            _ => 0,
        }),
    );
    let mut lost = 0;
    for _ in 0..3 {
        loop {
            let bought = home.run(["buy", "--to", "a@y.example", "b@y.example", "--out", "-"], b"");
            if bought.code == 0 {
                assert_eq!(tokens(&bought.text()).len(), 2);
                break;
            }
            bought.exits(75);
            lost += 1;
            assert!(lost < 100);
        }
    }
    assert!(lost > 3, "{lost}");
    assert_eq!((shop.balance(), sold(&shop)), (94, 6));
}

/// The system calls at which a buyer is killed.
const CALLS: [&str; 9] = [
    "connect",
    "sendto,sendmsg,write,writev",
    "recvfrom,recvmsg",
    "flock",
    "pwrite64,pwritev2",
    "ftruncate,?fallocate",
    "fdatasync,fsync",
    "?rename,?renameat,?renameat2",
    "exit_group",
];

/// Runs `arguments` killed at every such call in turn, each time in a new home at one shop, and then whole; `check`
/// sees what the whole run said. Returns how many were killed.
fn killed_at_every_call(arguments: &[&str], stdin: &[u8], check: impl Fn(&Home, &str)) -> u64 {
    let shop = Shop::open(10_000, &["--key-rate", "0"]);
    let mut killed = 0;
    for calls in CALLS {
        for number in 1.. {
            let home = customer(&shop, shop.address);
            let before = sold(&shop);
            let mut command = home.command();
            command.args(arguments);
            let inject = format!("inject={calls}:signal=SIGKILL:when={number}");
            let (_, trace) = traced_with(&mut command, &["-e", &format!("trace={calls}"), "-e", &inject], stdin);
            let done = !trace.contains("+++ killed by SIGKILL");
            let whole = run(home.command().args(arguments), stdin).exits(0);
            assert_eq!(sold(&shop) - before, 1, "{calls} {number}");
            check(&home, &whole.text());
            if done {
                break;
            }
            killed += 1;
        }
    }
    shop.audit();
    killed
}

// Threats 22 and 29
#[test]
fn a_buyer_killed_at_any_call_pays_once() {
    let arguments = ["buy", "--to", "a@y.example", "--name", "once", "--out", "-"];
    let killed = killed_at_every_call(&arguments, b"", |home, text| {
        assert_eq!(tokens(text).len(), 1);
        assert!(home.run(["wallet", "list"], b"").exits(0).text().lines().count() == 1, "nothing is left over");
    });
    assert!(killed > 20, "{killed}");
}

// Threat 29
#[test]
fn affix_killed_at_any_call_uses_one_stamp_for_one_message() {
    let message = letter("1");
    let arguments = ["affix", "--buy", "--to", "alice@x.example"];
    let killed = killed_at_every_call(&arguments, &message, |home, text| {
        assert!(text.ends_with(std::str::from_utf8(&message).unwrap()), "{text}");
        // Once more: the same stamp. Another message: another one.
        assert_eq!(home.run(arguments, &message).exits(0).text(), text);
    });
    assert!(killed > 20, "{killed}");
}
