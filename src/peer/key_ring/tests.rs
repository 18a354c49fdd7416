//! Tests of what becomes of a correspondent's keys: each state, and any order of events.

use super::super::announcement::tests::{DAY, MADE, address, announce, keys, links, secret};
use super::*;
use proptest::prelude::*;

const A: &str = "alice@x.example";
const NOW: UnixTime = UnixTime(MADE.0 + 100 * DAY);

fn sighting<'a>(from: &'a Address, evidence: Evidence) -> Sighting<'a> {
    Sighting { now: NOW, from: Some(from), is_contact: true, is_automatic: false, evidence }
}

fn learn(ring: &KeyRing, seen: &Announcement, evidence: Evidence) -> (Option<KeyRing>, Learned) {
    ring.learn(seen, &sighting(&address(A), evidence))
}

/// The ring after these announcements, each over the way of its seeds, with aligned mail.
fn ring(ways: &[&[u8]]) -> KeyRing {
    ways.iter().fold(KeyRing::default(), |ring, way| {
        learn(&ring, &announce(A, way, None), Evidence::Aligned).0.unwrap_or(ring)
    })
}

fn key(seed: u8) -> PublicKey {
    secret(seed).public()
}

fn known(seed: u8) -> KeyRing {
    ring(&[&[seed]]).confirm(&key(seed), NOW).unwrap()
}

fn states(ring: &KeyRing) -> Vec<(u8, KeyState)> {
    let seed = |own: &PeerKey| (1..=9).find(|seed| key(*seed) == own.keys.signing).unwrap();
    ring.keys().iter().map(|own| (seed(own), own.state)).collect()
}

use Evidence::{Aligned, Covered, User};
use KeyState::{Changed, Dropped, Forked, Known, New, Past, Revoked};

#[test]
fn a_forged_from_teaches_no_key() {
    let (a, b) = (address(A), address("bob@y.example"));
    let seen = announce(A, &[1], None);
    let good = sighting(&a, Aligned);
    for (by, reason) in [
        (Sighting { evidence: Evidence::None, ..good }, IgnoredReason::Unproven),
        (Sighting { from: Some(&b), ..good }, IgnoredReason::OtherAddress),
        (Sighting { from: None, ..good }, IgnoredReason::OtherAddress),
        (Sighting { is_contact: false, ..good }, IgnoredReason::NoContact),
        (Sighting { is_automatic: true, ..good }, IgnoredReason::Automatic),
    ] {
        assert_eq!(KeyRing::default().learn(&seen, &by), (None, Learned::Ignored(reason)));
    }
    let by_user = Sighting { evidence: User, from: None, is_contact: false, is_automatic: true, ..good };
    let (after, learned) = KeyRing::default().learn(&seen, &by_user);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Known)], Learned::Accepted));
}

#[test]
fn first_keys_stand_side_by_side_until_one_is_used() {
    let three = ring(&[&[1], &[2], &[3]]);
    assert_eq!(states(&three), [(1, New), (2, New), (3, New)]);
    assert_eq!(three.takers().count(), 3);
    assert_eq!((three.givers(false).count(), three.givers(true).count()), (0, 3));
    let used = three.confirm(&key(2), NOW).unwrap();
    assert_eq!(states(&used), [(2, Known)]);
    assert_eq!((used.takers().count(), used.givers(false).count()), (1, 1));
    assert_eq!(used.confirm(&key(2), NOW), None);
    assert_eq!(three.confirm(&key(4), NOW), None);
    // A fourth takes the place of the oldest.
    assert_eq!(states(&ring(&[&[1], &[2], &[3], &[4]])), [(2, New), (3, New), (4, New)]);
    assert_eq!(three.expire(NOW.plus(NEW_LIFETIME)), None);
    assert_eq!(states(&three.expire(NOW.plus(NEW_LIFETIME + 1)).unwrap()), []);
    assert_eq!(used.expire(NOW.plus(10 * NEW_LIFETIME)), None);
}

#[test]
fn another_key_never_replaces_a_known_one_in_silence() {
    let ring = known(1);
    let other = announce(A, &[2], None);
    assert_eq!(learn(&ring, &other, Aligned), (None, Learned::Ignored(IgnoredReason::Unproven)));
    let (after, learned) = learn(&ring, &other, Covered);
    let after = after.unwrap();
    assert_eq!((states(&after), learned), (vec![(1, Known), (2, Changed)], Learned::Changed));
    assert!(after.takers().all(|own| own.keys == keys(1)) && after.givers(true).all(|own| own.keys == keys(1)));
    assert_eq!(after.confirm(&key(2), NOW), None);
    // The user decides.
    let accepted = after.accept(&key(2), NOW).unwrap();
    assert_eq!(states(&accepted), [(1, Past), (2, Known)]);
    assert_eq!(accepted.accept(&key(2), NOW), None);
    assert_eq!(accepted.accept(&key(3), NOW), None);
    // Two others are kept, the latest.
    let all = [2, 3, 4].iter().fold(ring, |ring, seed| learn(&ring, &announce(A, &[*seed], None), Covered).0.unwrap());
    assert_eq!(states(&all), [(1, Known), (3, Changed), (4, Changed)]);
}

#[test]
fn a_known_key_is_followed_by_the_one_that_it_names() {
    let (after, learned) = learn(&known(1), &announce(A, &[1, 2], None), Aligned);
    let after = after.unwrap();
    assert_eq!((states(&after), learned), (vec![(1, Past), (2, Known)], Learned::Followed));
    assert_eq!(after.givers(false).count(), 2);
    // Over several rotations, also when the way begins before the known key.
    for way in [&[1, 2, 3, 4, 5][..], &[9, 1, 2, 3], &[8, 9, 1, 5]] {
        let (after, learned) = learn(&known(1), &announce(A, way, None), Aligned);
        let last = *way.last().unwrap();
        assert_eq!((states(&after.unwrap()), learned), (vec![(1, Past), (last, Known)], Learned::Followed));
    }
    // Also where it was kept aside before.
    let aside = learn(&known(1), &announce(A, &[2], None), Covered).0.unwrap();
    let (after, learned) = learn(&aside, &announce(A, &[1, 2], None), Aligned);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Past), (2, Known)], Learned::Followed));
    // A way that does not lead over it is another key's.
    assert_eq!(learn(&known(1), &announce(A, &[3, 2], None), Covered).1, Learned::Changed);
    // A way to a new key that a new key names appoints none.
    assert_eq!(states(&ring(&[&[1], &[1, 2]])), [(1, New), (2, New)]);
}

#[test]
fn an_older_announcement_changes_nothing() {
    let ring = ring(&[&[1, 2], &[2]]);
    for way in [&[1, 2][..], &[2]] {
        assert_eq!(learn(&ring, &announce(A, way, None), Covered), (None, Learned::Unchanged));
    }
    let followed = learn(&known(1), &announce(A, &[1, 2], None), Aligned).0.unwrap();
    for way in [&[1][..], &[1, 2]] {
        assert_eq!(learn(&followed, &announce(A, way, None), Covered), (None, Learned::Unchanged));
    }
}

#[test]
fn a_future_date_counts_as_now() {
    let a = address(A);
    let early = Sighting { now: MADE, ..sighting(&a, Aligned) };
    let seen = announce(A, &[9], None);
    assert!(seen.keys.issued > MADE);
    let (ring, _) = KeyRing::default().learn(&seen, &early);
    let ring = ring.unwrap();
    assert_eq!(ring.keys()[0].keys.issued, MADE);
    // Its replay is the same announcement, and no newer one.
    assert_eq!(ring.learn(&seen, &sighting(&a, Covered)), (None, Learned::Unchanged));
}

#[test]
fn a_revocation_appoints_nobody() {
    let seen = announce(A, &[1, 2], Some(MADE));
    let (after, learned) = learn(&known(1), &seen, Covered);
    let after = after.unwrap();
    assert_eq!((states(&after), learned), (vec![(1, Revoked), (2, New)], Learned::Revoked));
    assert_eq!(after.givers(false).count(), 0);
    assert_eq!(learn(&after, &announce(A, &[1], None), Covered).1, Learned::Unchanged);
    // A new announcement of the revoked key counts for nothing.
    let again = announce(A, &[7, 1], None);
    assert_eq!(learn(&after, &again, Covered).1, Learned::Ignored(IgnoredReason::Ended));
    // The last key of the way is the revoked one; the known key before it is past.
    let (after, _) = learn(&known(1), &announce(A, &[1, 2, 3], Some(MADE)), Covered);
    assert_eq!(states(&after.unwrap()), [(1, Past), (3, New)]);
    // Without a known key it says nothing.
    assert_eq!(states(&ring(&[&[1]])), [(1, New)]);
    let (after, learned) = learn(&ring(&[&[1]]), &seen, Aligned);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, New), (2, New)], Learned::New));
}

#[test]
fn a_second_successor_is_a_fork() {
    let followed = learn(&known(1), &announce(A, &[1, 2], None), Aligned).0.unwrap();
    let revoked = learn(&known(1), &announce(A, &[1, 2], Some(MADE)), Aligned).0.unwrap();
    for (ring, two) in [(&followed, Forked), (&revoked, Changed)] {
        for seen in [announce(A, &[1, 3], None), announce(A, &[1, 3], Some(MADE)), announce(A, &[9, 1, 3], None)] {
            let (after, learned) = learn(ring, &seen, Aligned);
            let after = after.unwrap();
            assert_eq!((states(&after)[1..].to_vec(), learned), (vec![(2, two), (3, Changed)], Learned::Forked));
            assert!(after.forked().is_some());
            assert_eq!((after.takers().count(), after.confirm(&key(3), NOW)), (0, None));
            // Nothing else becomes new either.
            assert_eq!(learn(&after, &announce(A, &[4], None), Covered).1, Learned::Changed);
            let accepted = after.accept(&key(3), NOW).unwrap();
            assert_eq!((accepted.known().unwrap().keys.signing, accepted.forked()), (key(3), None));
        }
    }
    // The announced key stays, also where it was kept aside long before and there are more than are kept.
    let aside =
        [2, 8].iter().fold(known(4), |ring, seed| learn(&ring, &announce(A, &[*seed], None), Covered).0.unwrap());
    let revoked = learn(&aside, &announce(A, &[4, 7], Some(MADE)), Aligned).0.unwrap();
    let (forked, learned) = learn(&revoked, &announce(A, &[4, 2], None), Aligned);
    assert_eq!((states(&forked.unwrap()), learned), (vec![(4, Revoked), (7, Changed), (2, Changed)], Learned::Forked));
    // So may any later one say of any earlier one. A correspondent who knows an earlier one decides anew.
    let (of, way) = (address(A), links(&address(A), &[1, 2, 3]));
    let stolen = |seed: u8| {
        let revoked = (Some(MADE), Some(secret(seed).public()));
        Announcement::parse(Announcement::sign_with(&of, &keys(3), &way, revoked, &secret(3)).unwrap().as_str())
            .unwrap()
    };
    let (after, learned) = learn(&followed, &stolen(1), Aligned);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Revoked), (2, Past), (3, Known)], Learned::Followed));
    let (after, learned) = learn(&known(1), &stolen(2), Aligned);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Past), (3, New)], Learned::Revoked));
    let (after, learned) = learn(&known(1), &stolen(1), Aligned);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Revoked), (3, New)], Learned::Revoked));
    // That the past key was stolen, its successor may say later.
    let (after, learned) = learn(&followed, &announce(A, &[1, 2], Some(MADE)), Aligned);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Revoked), (2, Known)], Learned::Revoked));
}

#[test]
fn a_dropped_correspondent_comes_back_by_the_user_only() {
    let dropped = known(1).drop_all(NOW).unwrap();
    assert_eq!(states(&dropped), [(1, Dropped)]);
    assert_eq!(dropped.drop_all(NOW), None);
    assert_eq!(learn(&dropped, &announce(A, &[5, 1], None), Covered).1, Learned::Ignored(IgnoredReason::Ended));
    assert_eq!(states(&dropped.accept(&key(1), NOW).unwrap()), [(1, Known)]);
    let (after, learned) = learn(&dropped, &announce(A, &[1], None), User);
    assert_eq!((states(&after.unwrap()), learned), (vec![(1, Known)], Learned::Accepted));
}

#[test]
fn a_ring_is_written_and_read() {
    let (mut ring, _) = learn(&known(1), &announce(A, &[1, 2], Some(MADE)), Aligned);
    let forked = learn(&ring.take().unwrap(), &announce(A, &[1, 3], None), Aligned).0.unwrap();
    let text = serde_json::to_string(&forked).unwrap();
    assert_eq!(serde_json::from_str::<KeyRing>(&text).unwrap(), forked);
    assert_eq!(serde_json::to_string(&KeyRing::default()).unwrap(), "{}");
}

#[derive(Clone, Debug)]
enum Event {
    Seen(Vec<u8>, bool, Evidence),
    Used(u8),
    Accepted(u8),
    Dropped,
    Passed(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let way = proptest::sample::subsequence((1..9_u8).collect::<Vec<u8>>(), 1..5).prop_shuffle();
    let evidence = prop_oneof![Just(Evidence::None), Just(Aligned), Just(Covered), Just(User)];
    let event = prop_oneof![
        8 => (way, any::<bool>(), evidence).prop_map(|(way, revoked, evidence)| Event::Seen(way, revoked, evidence)),
        3 => (1..9_u8).prop_map(Event::Used),
        1 => (1..9_u8).prop_map(Event::Accepted),
        1 => Just(Event::Dropped),
        1 => (0..200 * DAY).prop_map(Event::Passed),
    ];
    proptest::collection::vec(event, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever comes in whatever order: the limits hold, and the known key changes only by its own signature, by
    /// the use of a stamp, or by the user.
    #[test]
    fn a_known_key_changes_only_as_it_may(events in events()) {
        let a = address(A);
        let mut ring = KeyRing::default();
        let mut now = NOW;
        for event in events {
            let before = ring.known().map(|own| own.keys.signing);
            let mut may_become = vec![];
            let after = match &event {
                Event::Passed(seconds) => {
                    now = now.plus(*seconds);
                    ring.expire(now)
                }
                Event::Used(seed) => {
                    may_become.push(key(*seed));
                    prop_assert!(before.is_none() || ring.confirm(&key(*seed), now).is_none());
                    ring.confirm(&key(*seed), now)
                }
                Event::Accepted(seed) => {
                    may_become.push(key(*seed));
                    ring.accept(&key(*seed), now)
                }
                Event::Dropped => ring.drop_all(now),
                Event::Seen(way, revoked, evidence) => {
                    let revoked = (*revoked && way.len() > 1).then_some(MADE);
                    let seen = announce(A, way, revoked);
                    let (after, learned) = ring.learn(&seen, &Sighting { now, ..sighting(&a, *evidence) });
                    let named = before.is_some_and(|known| !seen.steps_from(&known).is_empty());
                    if *evidence == User || named && revoked.is_none() && *evidence != Evidence::None {
                        may_become.push(seen.keys.signing);
                    }
                    prop_assert_eq!(after.is_none(), matches!(learned, Learned::Ignored(_) | Learned::Unchanged));
                    prop_assert!(*evidence != Evidence::None || after.is_none());
                    // The same once more changes nothing, unless the user says so.
                    let then = after.clone().unwrap_or_else(|| ring.clone());
                    let (again, _) = then.learn(&seen, &Sighting { now, ..sighting(&a, *evidence) });
                    prop_assert!(*evidence == User || again.is_none(), "{:?}", again);
                    after
                }
            };
            prop_assert!(after.as_ref() != Some(&ring), "a change that is none: {:?}", event);
            ring = after.unwrap_or(ring);
            let count = |is: &dyn Fn(KeyState) -> bool| ring.keys().iter().filter(|own| is(own.state)).count();
            prop_assert!(count(&|state| state == Known) <= 1);
            prop_assert!(count(&|state| state == New) <= NEW_MAX);
            prop_assert!(count(&|state| state == Changed) <= CHANGED_MAX);
            prop_assert!(count(&|state| state == Past || state.is_ended()) <= OLD_MAX);
            prop_assert!(ring.steps.len() <= STEPS_KEPT);
            prop_assert!(ring.forked().is_none() || ring.takers().next().is_none());
            let after = ring.known().map(|own| own.keys.signing);
            prop_assert!(after == before || after.is_none() || may_become.contains(&after.unwrap()), "{:?}", event);
            let mut all: Vec<PublicKey> = ring.keys().iter().map(|own| own.keys.signing).collect();
            all.sort_by_key(PublicKey::to_bytes);
            all.dedup();
            prop_assert_eq!(all.len(), ring.keys().len());
        }
    }
}
