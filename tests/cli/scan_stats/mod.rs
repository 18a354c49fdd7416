//! `scan` and `stats`: kept mail is judged at its receiving time without changing the state. The numbers are exact in
//! every output form, and the page is well-formed HTML.

mod scan;
mod stats;
