//! The vendor's service, for programs and people: the program under test on loopback, over real connections. The ledger
//! has its own tests.

mod browser;
#[cfg(feature = "sender")]
mod cashu;
#[cfg(feature = "sender")]
mod cashu_attacks;
mod disk;
#[cfg(feature = "directory")]
mod editions;
mod form;
mod guide;
mod interface;
mod limits;
mod meters;
mod own;
mod page;
#[cfg(feature = "sender")]
mod provider;
mod quoted;
mod restored;
#[cfg(feature = "sender")]
mod states;
mod storms;
