//! The main job, as a person does it by hand: a stamp is bought, put on, accepted once, and refused on another message.

use crate::support::{Home, letter};

#[test]
fn a_stamp_lets_one_message_through_and_no_other() {
    // BC1, BC13, BP4i: a stranger's stamped message is first-class; the stamp on another message is used.
    let home = Home::new();
    home.classify(&letter("1")).exits(11).says("unstamped no-stamp");
    let stamp = home.issue(crate::support::ALICE, []);
    let first = home.affix(&stamp, &letter("1"));
    home.classify(&first).exits(0).says("first-class paid");
    home.classify(&first).exits(0).says("first-class again");
    home.classify(&home.affix(&stamp, &letter("2"))).exits(21).says("used used");
    home.classify(&first).exits(0).says("first-class again");
}
