//! Search for single bytes, as fast as memory is read.
//!
//! The functions of the crate memchr probe the processor for its widest registers at their first use. In a virtual
//! machine each CPUID traps to the hypervisor; together they take as long as judging a small message. Every x86-64
//! processor has SSE2, which reads a message of 100 MB in about 10 ms.

#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::memchr::{One, Two};

/// Returns the offset of the first `byte`.
#[must_use]
pub fn byte(byte: u8, text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(one) = One::new(byte) {
        return one.find(text);
    }
    memchr::memchr(byte, text)
}

/// Returns the offset of the last `byte`.
#[must_use]
pub fn last_byte(byte: u8, text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(one) = One::new(byte) {
        return one.rfind(text);
    }
    memchr::memrchr(byte, text)
}

/// Returns the offset of the first of two bytes.
#[must_use]
pub fn either(one: u8, other: u8, text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(two) = Two::new(one, other) {
        return two.find(text);
    }
    memchr::memchr2(one, other, text)
}

/// Returns the offset of the last of two bytes.
#[must_use]
pub fn last_of_either(one: u8, other: u8, text: &[u8]) -> Option<usize> {
    #[cfg(target_arch = "x86_64")]
    if let Some(two) = Two::new(one, other) {
        return two.rfind(text);
    }
    memchr::memrchr2(one, other, text)
}

/// Returns the offsets of `wanted`, in ascending order.
pub fn every(wanted: u8, text: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + byte(wanted, text.get(from..)?)?;
        from = at + 1;
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_same_places_as_a_plain_loop(text in proptest::collection::vec(0u8..4, 0..200)) {
            let at = |wanted: u8| text.iter().enumerate().filter(move |it| *it.1 == wanted).map(|it| it.0);
            let both = || text.iter().enumerate().filter(|it| *it.1 < 2).map(|it| it.0);
            prop_assert_eq!(byte(1, &text), at(1).next());
            prop_assert_eq!(last_byte(1, &text), at(1).next_back());
            prop_assert_eq!(either(0, 1, &text), both().next());
            prop_assert_eq!(last_of_either(0, 1, &text), both().next_back());
            prop_assert_eq!(every(1, &text).collect::<Vec<_>>(), at(1).collect::<Vec<_>>());
        }
    }
}
