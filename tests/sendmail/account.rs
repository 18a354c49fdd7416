//! A user's account at a shop.

use crate::support::Home;
use crate::support::programs::chmod;
use crate::support::shop::Shop;
use std::fs;

/// Gives the user of `home` the account of the shop.
pub fn with_account(home: &Home, shop: &Shop) {
    let key = home.file("api.key");
    fs::write(&key, format!("{}\n", shop.key)).unwrap();
    chmod(&key, 0o600);
    let url = format!("http://{}", shop.address);
    home.run(["account", "add", "--url", &url, "--key-file", key.to_str().unwrap(), "shop"], b"").exits(0);
}
