//! The sender's side, for its user: the program under test buys from the program under test, `vendor serve` on
//! loopback. The vendor's ledger shows what was charged.

#![cfg(all(feature = "sender", feature = "vendor"))]

mod accounts;
mod affixing;
mod buying;
mod crashes;

use crate::support::Home;
use crate::support::shop::Shop;
use std::net::SocketAddr;

/// A home with an account `shop` at the shop, as it is reached at `address`.
fn customer(shop: &Shop, address: SocketAddr) -> Home {
    let home = Home::bare();
    home.configure("addresses = [\"joe@shop.example\"]");
    add_account(&home, shop, address);
    home
}

fn add_account(home: &Home, shop: &Shop, address: SocketAddr) {
    let url = format!("http://{address}");
    home.run(
        ["account", "add", "shop", "--url", &url, "--vendor", "stamps.example", "--offline"],
        format!("{}\n", shop.key).as_bytes(),
    )
    .exits(0);
}

/// The stamps that the shop has sold.
fn sold(shop: &Shop) -> u64 {
    shop.audit().stamps
}

/// The tokens in a text of lines.
fn tokens(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}
