//! Keys in their files: made, replaced, revoked, carried.

use super::*;
use crate::peer::announcement::Announcement;
use crate::verdict::facts::{KeyFact, KeyStatus};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const NOW: UnixTime = UnixTime(1_800_000_000);

fn home() -> (tempfile::TempDir, PeerKeys) {
    let folder = tempfile::tempdir().unwrap();
    let keys = PeerKeys::new(folder.path(), Duration::from_secs(60));
    (folder, keys)
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn announced(identity: &Identity) -> Announcement {
    Announcement::parse(identity.announcement().unwrap().as_str()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn keys_are_files_that_only_the_user_can_read() {
    let (folder, keys) = home();
    let odd = address("a/b.%2Fc+d@x.example");
    for own in [&address("me@x.example"), &odd] {
        let made = keys.create(own, false, NOW).unwrap();
        assert_eq!(keys.get(own).unwrap().to_text(), made.to_text());
        assert_eq!(mode(&keys.path(own)), 0o600);
        assert_eq!(keys.path(own).parent(), Some(folder.path().join("peer").as_path()));
    }
    assert_eq!(mode(&folder.path().join("peer/own.json")), 0o600);
    let own = fs::read_to_string(folder.path().join("peer/own.json")).unwrap();
    assert!(!own.contains("secret") && own.matches("k4.public.").count() == 2, "{own}");
    assert_eq!(keys.list().unwrap().len(), 2);
    assert!(matches!(keys.create(&odd, false, NOW), Err(PeerKeyError::Exists(_))));
    assert!(matches!(keys.create(&address("\"b b\"@x.example"), false, NOW), Err(PeerKeyError::Address(_))));
    assert!(matches!(keys.get(&address("no@x.example")), Err(PeerKeyError::Absent(_))));
    fs::set_permissions(keys.path(&odd), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(keys.get(&odd), Err(PeerKeyError::File(_))));
}

#[test]
fn the_key_of_a_list_is_published_as_one_and_carried() {
    let ((folder, keys), (_other, host)) = (home(), home());
    let (me, list) = (address("me@x.example"), address("l@lists.example"));
    keys.create(&me, false, NOW).unwrap();
    keys.create(&list, true, NOW).unwrap();
    keys.rotate(&list, false, NOW.plus(60)).unwrap();
    let public = |keys: &PeerKeys| fs::read_to_string(own_keys::path(&keys.folder)).unwrap();
    let published: OwnKeys = serde_json::from_str(&public(&keys)).unwrap();
    assert!(published.is_list("l@lists.example") && published.is_personal("me@x.example"));
    assert_eq!(published.list_keys(&list).count(), 2);
    keys.export(&folder.path().join("one")).unwrap();
    host.import(&folder.path().join("one")).unwrap();
    assert_eq!(public(&host), public(&keys));
    assert!(host.get(&list).unwrap().is_list && !host.get(&me).unwrap().is_list);
    // A person and a list never have one key.
    let (_third, stranger) = home();
    stranger.create(&list, false, NOW).unwrap();
    assert!(matches!(stranger.import(&folder.path().join("one")), Err(PeerKeyError::Conflict(_))));
}

#[test]
fn a_file_under_another_name_is_refused() {
    let (_folder, keys) = home();
    let (one, two) = (address("one@x.example"), address("two@x.example"));
    keys.create(&one, false, NOW).unwrap();
    fs::copy(keys.path(&one), keys.path(&two)).unwrap();
    assert!(matches!(keys.get(&two), Err(PeerKeyError::Form { .. })));
    for text in ["", "{}", "{\"address\":\"one@x.example\",\"keys\":[]}"] {
        fs::write(keys.path(&one), text).unwrap();
        assert!(matches!(keys.get(&one), Err(PeerKeyError::Form { .. })), "{text}");
    }
}

#[test]
fn a_rotated_key_is_named_by_the_one_before() {
    let (_folder, keys) = home();
    let own = address("me@x.example");
    let first = keys.create(&own, false, NOW).unwrap().active().unwrap().public();
    let after = keys.rotate(&own, false, NOW.plus(60)).unwrap();
    assert_eq!(keys.get(&own).unwrap().announcement().unwrap(), after.announcement().unwrap());
    let seen = announced(&after);
    assert_eq!((seen.steps.len(), seen.revoked, seen.steps[0].from), (1, None, first.signing));
    assert_eq!(after.holders().len(), 2);
    let stolen = keys.rotate(&own, true, NOW.plus(120)).unwrap();
    let seen = announced(&stolen);
    assert_eq!((seen.steps.len(), seen.revoked), (2, Some(NOW.plus(120))));
    // A stamp that is bound to a revoked key cannot be used, one that is bound to a retired key can.
    assert!(stolen.usable(&first.signing).is_some() && stolen.usable(&after.holders()[1]).is_none());
    // After the next rotation the revocation is said again: a correspondent may not have heard of it.
    let seen = announced(&keys.rotate(&own, false, NOW.plus(180)).unwrap());
    assert_eq!((seen.steps.len(), seen.revoked, seen.stolen), (3, Some(NOW.plus(120)), Some(seen.steps[1].from)));
    let mut identity = keys.get(&own).unwrap();
    for at in 0..20 {
        identity = keys.rotate(&own, false, NOW.plus(200 + at)).unwrap();
    }
    assert_eq!((identity.keys.len(), announced(&identity).steps.len()), (KEYS_MAX, 4));
}

#[test]
fn keys_are_carried_to_another_host_and_follow_there() {
    let ((folder, keys), (_other, host)) = (home(), home());
    let own = address("me@x.example");
    keys.create(&own, false, NOW).unwrap();
    let file = |name: &str| folder.path().join(name);
    assert_eq!(keys.export(&file("one")).unwrap(), std::slice::from_ref(&own));
    assert_eq!(mode(&file("one")), 0o600);
    assert!(matches!(keys.export(&file("one")), Err(PeerKeyError::Write { .. })));
    host.import(&file("one")).unwrap();
    assert_eq!(host.get(&own).unwrap().to_text(), keys.get(&own).unwrap().to_text());
    let rotated = keys.rotate(&own, true, NOW.plus(60)).unwrap();
    keys.export(&file("two")).unwrap();
    // Each in its order, and the earlier file again.
    for name in ["two", "one"] {
        host.import(&file(name)).unwrap();
        assert_eq!(host.get(&own).unwrap().to_text(), rotated.to_text(), "{name}");
    }
    assert!(fs::read_to_string(own_keys::path(&host.folder)).unwrap().contains("revoked"));
    // A host that was away for more rotations than keys are kept for.
    for at in 0..10 {
        keys.rotate(&own, false, NOW.plus(100 + at)).unwrap();
    }
    keys.export(&file("middle")).unwrap();
    for at in 0..10 {
        keys.rotate(&own, false, NOW.plus(200 + at)).unwrap();
    }
    keys.export(&file("late")).unwrap();
    for name in ["middle", "late", "middle"] {
        host.import(&file(name)).unwrap();
    }
    assert_eq!(host.get(&own).unwrap().to_text(), keys.get(&own).unwrap().to_text());
    // Two keys of one address that do not follow each other.
    let (_third, stranger) = home();
    stranger.create(&own, false, NOW).unwrap();
    let before = stranger.get(&own).unwrap().to_text();
    assert!(matches!(stranger.import(&file("two")), Err(PeerKeyError::Conflict(_))));
    assert_eq!(stranger.get(&own).unwrap().to_text(), before);
    fs::set_permissions(file("two"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(host.import(&file("two")), Err(PeerKeyError::File(_))));
}

impl Identity {
    fn to_text(&self) -> String {
        serde_json::to_string(&self.to_kept()).unwrap()
    }
}

#[test]
fn any_retired_key_can_be_revoked() {
    let (folder, keys) = home();
    let alice = address("alice@x.example");
    let id = |identity: &Identity, at: usize| key_id(&identity.keys[at].secret.public());
    keys.create(&alice, false, NOW).unwrap();
    keys.rotate(&alice, false, NOW).unwrap();
    let three = keys.rotate(&alice, false, NOW).unwrap();
    assert!(matches!(keys.revoke(&alice, &id(&three, 2), NOW), Err(PeerKeyError::Active(_))));
    assert!(matches!(keys.revoke(&alice, "AAAAAAAAAAA", NOW), Err(PeerKeyError::Unknown(_))));
    assert_eq!(announced(&keys.get(&alice).unwrap()).stolen, None);
    // The oldest of three. Its correspondents hear of it from the next key.
    let first = three.keys[0].secret.public();
    let after = keys.revoke(&alice, &first.to_string(), NOW.plus(9)).unwrap();
    let statuses: Vec<OwnKeyStatus> = after.keys.iter().map(|key| key.status).collect();
    let revoked = OwnKeyStatus::Revoked { since: NOW.plus(9) };
    assert_eq!(statuses, [revoked, OwnKeyStatus::Retired, OwnKeyStatus::Retired, OwnKeyStatus::Active]);
    let said = announced(&after);
    assert_eq!((said.stolen, said.revoked, said.steps.len()), (Some(first), Some(NOW.plus(9)), 3));
    assert!(after.usable(&first).is_none());
    let known = OwnKeys::read(folder.path()).unwrap().key(&issuer(&alice, &first).unwrap());
    assert!(matches!(known, KeyFact::Known(key) if matches!(key.status, KeyStatus::Revoked { .. })));
    // Once is enough, and what is too far away is not announced.
    assert_eq!(keys.revoke(&alice, &id(&after, 0), NOW.plus(99)).unwrap().keys.len(), 4);
    (0..2).for_each(|_| drop(keys.rotate(&alice, false, NOW).unwrap()));
    let said = announced(&keys.get(&alice).unwrap());
    assert_eq!((said.stolen, said.steps.len()), (None, STEPS_MAX));
    // Of two, the later one is said. A correspondent who knows an earlier one decides anew.
    let six = keys.get(&alice).unwrap();
    keys.revoke(&alice, &id(&six, 3), NOW).unwrap();
    let after = keys.revoke(&alice, &id(&six, 4), NOW).unwrap();
    assert_eq!(announced(&after).stolen, Some(six.keys[4].secret.public()));
}
