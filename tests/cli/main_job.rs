//! The main job, as a person does it by hand: a stamp is bought, put on, accepted once, and refused on another message.

use crate::support::{ALICE, Home, letter};

#[test]
fn a_stamp_lets_one_message_through_and_no_other() {
    // BC1, BC13, BP4i: a stranger's stamped message is first-class; the stamp on another message is used.
    let home = Home::new();
    home.classify(&letter("1")).exits(11).says("unstamped no-stamp");
    let stamp = home.issue(ALICE, []);
    let first = home.affix(&stamp, &letter("1"));
    home.classify(&first).exits(0).says("first-class paid");
    home.classify(&first).exits(0).says("first-class again");
    home.classify(&home.affix(&stamp, &letter("2"))).exits(21).says("used used");
    home.classify(&first).exits(0).says("first-class again");
}

#[test]
fn the_longest_window_that_vendors_sell_is_accepted() {
    let home = Home::new();
    let affixed = |days: &str| {
        let stamp = home.issue(ALICE, ["--days", days]);
        home.run(["affix", "--stamp", &stamp], &letter(days)).exits(0)
    };
    let year = affixed("366");
    assert_eq!(year.stderr, "");
    home.classify(&year.stdout).exits(0).says("first-class paid");
    let long = affixed("401");
    assert!(long.stderr.contains("recipients refuse more than 400 unless they raise stamps.max_window"), "{long:?}");
    home.classify(&long.stdout).exits(20).says("invalid window-too-long");
}
