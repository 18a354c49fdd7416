//! The documented promises of the program: fixtures, test vectors, the manual, limits, the requirements of the two
//! papers, and the layers of the source. Needs little beside Rust; `tests/packages` lists it.

mod cycles;
mod emstamp;
mod fixtures;
mod fixtures_make;
mod layering;
mod limits;
mod manual;
mod prose;
mod requirements;
mod seeds;
mod stamp_page;
mod stamp_vectors;
#[path = "../support/mod.rs"]
mod support;
