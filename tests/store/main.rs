//! The stores, seen from outside. Every store keeps one contract (`contract` for stamps, `sent` for contacts, `replies`
//! for the reply log, `peers` for the keys of correspondents). The store on disk also withstands hostile files (`files`),
//! failing operations (`faults`), cut power (`powercut`, and `staying` for the journal of the daemon), and processes that
//! race and are killed (`processes`). `size` tests the size of its file. `disk` is the disk that can fail.
//! `bank` tests the bank of a gateway, on the same disk.

/// Each test runs on every store, with another one of the same kind beside it.
macro_rules! on_every_store {
    ($($(#[$doc:meta])* fn $name:ident($store:ident, $other:ident) $body:block)*) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(&super::Memory::new(), &super::Memory::new()); })*
        }
        mod on_disk {
            $(#[test] fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let open = |name| super::Redb::new(folder.path().join(name), super::Options::default());
                super::$name(&open("one"), &open("two"));
            })*
        }
        mod resident {
            $(#[test] fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let open = |name| super::ResidentLog::new(folder.path().join(name), super::Options::default()).unwrap();
                super::$name(&open("one"), &open("two"));
            })*
        }
        #[cfg(feature = "postgres")]
        mod in_postgres {
            $(#[test] fn $name() { super::$name(&crate::shared::log(), &crate::shared::log()); })*
        }
        $($(#[$doc])* pub fn $name($store: &dyn Store, $other: &dyn Store) $body)*
    };
}

#[cfg(feature = "sender")]
mod bank;
mod contract;
mod disk;
mod faults;
mod files;
mod peers;
#[cfg(feature = "postgres")]
mod postgres;
mod powercut;
mod processes;
mod replies;
mod sent;
#[cfg(feature = "postgres")]
mod shared;
mod size;
#[cfg(feature = "postgres")]
mod snapshot;
mod staying;
#[cfg(feature = "postgres")]
#[path = "../support/mod.rs"]
mod support;

use mailstamp::grant::StampStatus;
use mailstamp::stamp::serial::Serial;
use mailstamp::store::{ExportRecord, GrantStore, Store, StoreError};
use mailstamp::time::UnixTime;
use mailstamp::verdict::owner::Owner;
use mailstamp::verdict::spend::{Redelivery, SpendRequest, Terms};
use std::ops::ControlFlow;

const DAY: i64 = 86_400;

/// 2026-11-21T12:00:00Z.
const NOW: UnixTime = UnixTime(1_795_262_400);

/// The stamp number `serial` on the message number `message`, with 30 days left.
fn ask(serial: u32, message: u8) -> SpendRequest {
    SpendRequest {
        vendor: "stamps.example".into(),
        serial: Serial::new(format!("serial-{serial}")).unwrap(),
        expires: Some(NOW.plus(30 * DAY)),
        message: [message; 16].into(),
        owner: Owner::default(),
        from: None,
        now: NOW,
        redelivery: Redelivery { within: 5 * DAY, times: 20 },
        terms: Terms::Spend,
        late: false,
        purge_until: Some(UnixTime(i64::MAX)),
        cap: None,
    }
}

/// All that a store hands out.
fn rows(store: &dyn Store) -> Vec<ExportRecord> {
    let mut rows = Vec::new();
    store
        .export(&mut |row| {
            rows.push(row);
            ControlFlow::Continue(())
        })
        .unwrap();
    rows
}

/// Replaces the standing of a stamp, whatever it was.
trait SetStanding {
    /// Returns the previous standing.
    fn set_standing(&self, vendor: &str, serial: &Serial, standing: StampStatus) -> Result<StampStatus, StoreError>;
}

impl<T: GrantStore + ?Sized> SetStanding for T {
    fn set_standing(&self, vendor: &str, serial: &Serial, standing: StampStatus) -> Result<StampStatus, StoreError> {
        self.update_status(vendor, serial, &mut |_| standing.clone())
    }
}
