//! `scan` and `stats` through the program: kept mail judged at its receiving time without a trace, numbers that are exact
//! in every form in which they are shown, and a page that a parser of HTML finds whole.

mod scan;
mod stats;
