//! A vendor's ledger, from outside: its promises under any order of work, under parallel work, after `kill -9`, after
//! an old backup was put back, and after an edit of the file. Where another process is needed, it is this test program,
//! started again with the name of a test that does its work.

mod always;
pub mod chain;
mod clock;
mod codes;
mod commands;
mod crash;
pub mod meters;
mod meters_always;
mod sales;
mod signing;
mod tamper;
mod together;

use mailstamp::accounting::event::Terms;
use mailstamp::accounting::order::{Caps, Order};
use mailstamp::ledger::handle::{Ledger, LedgerParams};
use mailstamp::ledger::model::Account;
use mailstamp::ledger::ops;
use mailstamp::ledger::rejection::Rejection;
use mailstamp::ledger::trade::{IssuedStamps, RedeemRequest};
use mailstamp::stamp::audience::Audience;
use mailstamp::time::UnixTime;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const NOW: UnixTime = UnixTime(1_795_262_400);
pub const WAIT: Duration = Duration::from_secs(300);

pub fn terms() -> Terms {
    let caps = Caps { credits_a_day: 1_000_000_000, ..Caps::default() };
    Terms { caps, meters: Some(1_000_000_000), ..Terms::new("0.001 EUR".parse().unwrap(), 30) }
}

/// A ledger in a folder of its own, which goes with it.
pub(crate) struct Shop {
    pub folder: tempfile::TempDir,
    pub ledger: Ledger,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let founding = LedgerParams { vendor: "stamps.example".into(), kid: "a".into(), terms: terms() };
        let ledger = Ledger::create(&folder.path().join("ledger"), &founding, NOW).unwrap();
        Self { folder, ledger: ledger.believing_callers() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    /// Opens an account with this many credits.
    pub fn account(&self, name: &str, credits: u64) -> Account {
        let account = self
            .ledger
            .run(ops::OpenAccount { name: name.to_owned(), contact: "me@near.example".into(), caps: None }, NOW)
            .unwrap();
        if credits > 0 {
            self.ledger.credit(account.number, credits, None, &format!("first of {name}"), NOW).unwrap();
        }
        account
    }

    pub fn has(&self, account: &Account) -> u64 {
        self.ledger.account(account.number, NOW).unwrap().balance
    }

    #[track_caller]
    pub fn sound(&self) {
        sound(&self.ledger);
    }
}

#[track_caller]
pub fn sound(ledger: &Ledger) {
    let report = ledger.audit(None).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

pub fn open(folder: &Path) -> Ledger {
    Ledger::open(folder, WAIT).unwrap().believing_callers()
}

pub fn order(to: &str) -> Order {
    Order::new(Audience::parse(to).unwrap())
}

pub fn orders(count: usize) -> Vec<Order> {
    vec![order("joe@far.example"); count]
}

pub fn texts(sold: &IssuedStamps) -> Vec<String> {
    sold.stamps.iter().map(|stamp| stamp.as_str().to_owned()).collect()
}

pub fn handed(stamps: &[String]) -> Vec<RedeemRequest> {
    stamps.iter().map(|stamp| RedeemRequest { stamp: stamp.clone(), address: None }).collect()
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, mailstamp::ledger::error::LedgerError>) -> Rejection {
    result.unwrap_err().refusal().cloned().expect("a refusal")
}
