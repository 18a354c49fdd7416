//! The clock of the daemon is wrong, or jumps while it runs (faketime(1) must be installed). No stamp is
//! accepted for two messages; where the clock cannot be right, or was ahead when serials were forgotten, mail waits.

use super::{Contest, Dice};
use crate::support::resident::Resident;
use crate::support::{ALICE, Home, Run, follow_clock, letter, set_clock, stamped};
use mailstamp::time::UnixTime;

/// A home that takes stamps of any length.
fn home() -> Home {
    let home = Home::new();
    home.configure(&format!("addresses = [\"{ALICE}\"]\n[stamps]\nmax_window = \"36500d\""));
    home
}

/// Starts the daemon with a clock that follows the file `clock`.
fn with_clock(home: &Home, says: &str) -> Resident {
    set_clock(&home.file("clock"), says);
    let mut command = home.command();
    follow_clock(&mut command, &home.file("clock"));
    Resident::begin(&mut command, home)
}

/// Promise 2, threats 7 and 18.
#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_wrong_clock_of_the_process_makes_nothing_fresh_twice() {
    let home = home();
    let long = |name: &str| {
        // Until 2099.
        let stamp = home.mint_until(ALICE, name, UnixTime(4_070_908_800));
        [0, 1].map(|which| stamped(&stamp, &letter(&format!("{name}{which}"))))
    };
    let right = long("right");
    home.classify(&right[0]).exits(0).says("first-class paid");
    for (offset, name) in [("-1d", "back"), ("+365d", "ahead"), ("-1d", "again")] {
        let resident = with_clock(&home, offset);
        let new = long(name);
        home.classify(&new[0]).exits(0).says("first-class paid");
        home.classify(&new[1]).exits(21).says("used used");
        home.classify(&right[1]).exits(21).says("used used");
        if offset == "-1d" {
            home.classify(&right[0]).exits(0).says("first-class again");
        }
        resident.kill();
        home.classify(&new[1]).exits(21).says("used used");
        home.classify(&new[0]).exits(0).says("first-class again");
    }
    // A clock that cannot be right decides nothing about a stamp, and everything else.
    let resident = with_clock(&home, "@1970-01-02 00:00:00");
    let said = home.classify(&right[0]).exits(75);
    assert!(said.stderr.contains("system clock is wrong: 1970-01-0"), "{}", said.stderr);
    home.classify(&right[1]).exits(75);
    home.classify(&letter("plain")).exits(11);
    assert_eq!(resident.judged(), 3);
    resident.kill();
    home.classify(&right[0]).exits(0).says("first-class again");
    home.classify(&right[1]).exits(21).says("used used");
}

#[test]
#[cfg_attr(target_env = "musl", ignore = "faketime(1) changes no clock of a static program")]
fn a_clock_that_jumps_while_the_process_runs_makes_nothing_fresh_twice() {
    let home = home();
    let resident = with_clock(&home, "+0");
    let clock = home.file("clock");
    let mut contest = Contest::new(&home, 12, "j");
    let (mut dice, mut deferred, mut expired) = (Dice(3), 0, 0);
    for turn in 0..80 {
        let offset = ["+0", "-1d", "+365d", "-20y", "+1h"][dice.below(5) as usize];
        set_clock(&clock, offset);
        let (stamp, which) = (dice.below(12) as usize, dice.below(2) as usize);
        let said: Run = home.classify(&contest.messages[stamp][which]);
        if said.code == 20 {
            // A day is the window of these.
            assert_eq!((offset, said.text().trim_end()), ("+365d", "invalid expired"));
            expired += 1;
        } else if !contest.take(stamp, which, &said) {
            assert!(said.code == 75 && offset == "-20y", "{turn} {offset}: {said:?}");
            deferred += 1;
        }
        if dice.below(10) == 0 {
            // With whatever the clock says now.
            home.run(["purge"], b"").exits(0);
        }
    }
    assert!(deferred > 0 && expired > 0, "{deferred} {expired}");
    assert_eq!(resident.judged(), 80);
    set_clock(&clock, "+0");
    contest.settle(&home);
    resident.kill();
    contest.settle(&home);
}
