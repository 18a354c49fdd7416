//! What runs for long: it waits for something to happen, and then does what a command would have done. Front ends: they
//! translate and never decide.

pub mod watch;
