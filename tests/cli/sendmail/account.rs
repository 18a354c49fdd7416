//! A user's account at a shop.

use crate::support::Home;
use crate::support::shop::{Shop, VENDOR};
use mailstamp::net::http_client::Secret;
use mailstamp::sender::account::{Account, Accounts};
use std::fs;
use std::net::SocketAddr;

/// Gives the user of `home` the account of the shop.
pub fn with_account(home: &Home, shop: &Shop) {
    put_account(home, shop.address, &shop.key);
}

/// The same account with another key, or as it is reached at another address.
pub fn put_account(home: &Home, address: SocketAddr, key: &str) {
    let url = format!("http://{address}");
    let account = Account::new("shop", &url, VENDOR, None, Secret::new(key.to_owned())).unwrap();
    fs::create_dir_all(home.state()).unwrap();
    Accounts::new(&home.state()).put(&account, true).unwrap();
}
