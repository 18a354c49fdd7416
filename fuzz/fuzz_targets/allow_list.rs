//! Checks what `src/allow_list.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::allow_list::run(input));
