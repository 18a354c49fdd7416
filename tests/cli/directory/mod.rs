//! `mailstamp directory` against real servers on the loopback interface: HTTPS with a CA of the test's own, Knot DNS
//! with and without DNSSEC, and files; and what their answers do to mail. A vendor publishes with `vendor publish` what
//! is served; a program that cannot fetch has none of these tests.

#![cfg(feature = "directory")]

mod dns;
mod https;
mod mail_path;
mod name_server;
mod rotation;
mod vendor;
mod web;
