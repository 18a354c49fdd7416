//! A user's account at a shop.

use crate::support::Home;
use crate::support::shop::{Shop, VENDOR};
use mailstamp::fetch::service::Secret;
use mailstamp::sender::account::{Account, Accounts};
use std::fs;

/// Gives the user of `home` the account of the shop.
pub fn with_account(home: &Home, shop: &Shop) {
    let url = format!("http://{}", shop.address);
    let account = Account::new("shop", &url, VENDOR, None, Secret::new(shop.key.clone())).unwrap();
    fs::create_dir_all(home.state()).unwrap();
    Accounts::new(&home.state()).put(&account, false).unwrap();
}
