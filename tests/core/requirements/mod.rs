//! What the two papers ask for, shown with the program itself, requirement by requirement: each test names the ids that it
//! shows. What needs other programs (mail transfer agents, mail readers) stands in the tests of those.

mod carried;
mod reuse;
mod stamps;
