//! The requirements of the two papers, tested with the program itself: each test names the ids of its requirements.
//! Those that need other programs (mail transfer agents, mail readers) are tested with these programs.

mod carried;
mod ids;
mod reuse;
mod stamps;
