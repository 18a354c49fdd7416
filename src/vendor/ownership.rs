//! Who owns an address: a code is mailed to it (for a domain, to its postmaster), and who can tell the code reads the
//! mail there. Or the operator says so. An address or a domain has one owner at a time; who proves it later takes it over.

use crate::mail::address::{Address, AddressError, canonical_domain};

/// An address or a domain in the form in which the books know it.
///
/// # Errors
/// [`AddressError`] when it is neither.
pub fn subject(text: &str) -> Result<String, AddressError> {
    match text.contains('@') {
        true => Address::parse(text).map(|address| address.canonical()),
        false => canonical_domain(text),
    }
}
