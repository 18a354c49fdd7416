//! Checks what `src/server_reply.rs` says.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| mailstamp_fuzz::server_reply::run(input));
