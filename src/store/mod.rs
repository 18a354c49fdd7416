//! Ports and adapters of what must be remembered.
