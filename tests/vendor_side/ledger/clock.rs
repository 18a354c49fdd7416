//! A clock that jumped ends nothing for good: no idempotency key, no licence.

use super::meters::clear;
use super::{Shop, WAIT, orders, texts};
use crate::support::meters::Meter;
use crate::support::{Home, faketime, run};
use mailstamp::ledger::handle::Ledger;
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use mailstamp::vendor_api::meters::ClearingResult;

const DAY: i64 = 86_400;

#[test]
fn a_request_of_a_jumped_clock_forgets_no_key() {
    let shop = Shop::new();
    let account = shop.account("alice", 10);
    let path = shop.path();
    let folder = shop.folder;
    drop(shop.ledger);
    let ledger = Ledger::open(&path, WAIT).unwrap();
    let now = clock::now();
    let first = ledger.issue(account.number, &orders(1), Some("k"), now).unwrap();
    for days in [2, 31, 31, 4_000] {
        ledger
            .run(ops::SetContact { account: account.number, contact: format!("{days}") }, now.plus(days * DAY))
            .unwrap();
        ledger.run(ops::Forget {}, now.plus(days * DAY)).unwrap();
        let again = ledger.issue(account.number, &orders(1), Some("k"), clock::now()).unwrap();
        assert!(again.sale.again, "{days}");
        assert_eq!(texts(&again), texts(&first));
    }
    super::sound(&ledger);
    drop(folder);
}

#[test]
fn a_jumped_clock_closes_no_licence() {
    let shop = super::meters::shop(1_000);
    let (payer, payee) = (Meter::new(1), Meter::new(2));
    let path = shop.path();
    let folder = shop.folder;
    drop(shop.ledger);
    let ledger = Ledger::open(&path, WAIT).unwrap();
    let now = clock::now();
    super::meters::license(&ledger, 1, &payer, 100, now).unwrap();
    super::meters::license(&ledger, 2, &payee, 0, now).unwrap();
    let token = payer.pay("payee", "joe@far.example", 1, 3, now.plus(3_600));
    ledger.run(ops::SetContact { account: 1, contact: "later".into() }, now.plus(40 * DAY)).unwrap();
    ledger.run(ops::Forget {}, now.plus(40 * DAY)).unwrap();
    assert_eq!(ledger.licenses(1, now).unwrap().len(), 1);
    let cleared = clear(&ledger, 2, &payee, &[token], now).unwrap();
    assert_eq!(cleared.each, [ClearingResult::Cleared { credits: 3 }]);
    super::sound(&ledger);
    drop(folder);
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_command_with_a_jumped_clock_sells_no_stamp_twice() {
    let home = Home::bare();
    let vendor = |line: &str| home.run(std::iter::once("vendor").chain(line.split(' ')), b"");
    home.run(["vendor", "init", "--vendor", "stamps.example", "--kid", "a", "--price", "0.001 EUR"], b"").exits(0);
    vendor("account add a --contact a@x.example").exits(0);
    vendor("credit a 10 --reference r").exits(0);
    let sell = "sell a --to b@y.example --key K";
    let first = vendor(sell).exits(0).text();
    let mut later = faketime("+31d");
    let program = home.command();
    later.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    later.arg(program.get_program()).args(["vendor", "account", "contact", "a", "x"]);
    run(later.current_dir(home.path()), b"").exits(0);
    let told = vendor("status").exits(0).stderr;
    assert!(told.contains("the clock was ahead at"), "{told}");
    assert_eq!(vendor(sell).exits(0).text(), first);
    let told = vendor("audit").exits(0).stderr;
    assert_eq!(told, "");
}
