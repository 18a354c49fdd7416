//! What a stamp is.

pub mod affix;
pub mod armour;
pub mod locate;
pub mod serial;
