//! The vendor's signing keys in the folder of the books, one file each.
