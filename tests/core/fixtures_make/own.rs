//! Stamps that the user gave to a correspondent: the user's own address issued them, and the correspondent's key signs
//! each use.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::directory::own_keys::{OwnKeyStatus, OwnKeys, PublicOwnKey};
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::peer::issuer;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::token::Issuer;
use mailstamp::verdict::reason::Reason;

const ALICE: &str = "alice@x.example";
/// The other address of the user, which has a key, too.
const WORK: &str = "alice@work.example";
const BOTH: &str = "addresses = [\"alice@x.example\", \"alice@work.example\"]\nprice = 5";

pub fn cases() -> Vec<Case> {
    [accepted(), refused(), of_others()].concat()
}

/// The user's keys: a retired one and the one that signs.
fn keys() -> OwnKeys {
    with_old(OwnKeyStatus::Retired)
}

fn with_old(status: OwnKeyStatus) -> OwnKeys {
    let own = |seed: u8, status| PublicOwnKey { key: key(seed).public(), status };
    let alice = vec![own(OLD_OWN, status), own(OWN, OwnKeyStatus::Active)];
    [(address(ALICE), alice), (address(WORK), vec![own(OTHER_VENDOR, OwnKeyStatus::Active)])].into_iter().collect()
}

/// The stamp that the user gave to Bob ten days ago.
fn given(serial: &str) -> Stamp {
    Stamp {
        sender: Some(address("bob@y.example")),
        issued: Some(NOW.plus(-10 * DAY)),
        many: true,
        holder: Some(key(HOLDER).public()),
        ..Stamp::new(Serial::new(serial).unwrap(), Audience::Plain(address(ALICE)), NOW.plus(80 * DAY))
    }
}

fn signed(of: &str, seed: u8, stamp: &Stamp) -> String {
    signed_as(&issuer(&address(of), &key(seed).public()).unwrap(), seed, stamp)
}

fn signed_as(issuer: &Issuer, seed: u8, stamp: &Stamp) -> String {
    issue::issue(stamp, issuer, &key(seed)).unwrap().as_str().to_owned()
}

fn token() -> String {
    signed(ALICE, OWN, &given("given"))
}

fn used(id: &str, nonce: u8) -> Vec<u8> {
    with_proof(&token(), &letter(id), nonce, NOW.plus(-MINUTE), HOLDER)
}

fn accepted() -> Vec<Case> {
    let peer = |detail, shows, message: Vec<u8>| case(Reason::Peer, detail, shows, message).own(&keys()).config(BOTH);
    let elsewhere = letter("4").replace("Bob <bob@y.example>", "Bob <robert@z.example>");
    let days_ago = |days: i64| with_proof(&token(), &letter("1"), 1, NOW.plus(-days * DAY), HOLDER);
    vec![
        peer("own", "The user gave this stamp to Bob, who used it. The price does not count.", used("1", 1)),
        peer("own-second-letter", "Bob used it before.", used("2", 2))
            .after("first-class/peer_own.eml", NOW.plus(-MINUTE)),
        peer("own-third-letter", "Bob used it twice today.", used("3", 3))
            .after("first-class/peer_own.eml", NOW.plus(-MINUTE))
            .after("first-class/peer_own-second-letter.eml", NOW.plus(-MINUTE)),
        case(Reason::TooOften, "own", "The fourth letter of a day, and the user has not answered yet.", used("5", 5))
            .own(&keys())
            .config(BOTH)
            .after("first-class/peer_own.eml", NOW.plus(-MINUTE))
            .after("first-class/peer_own-second-letter.eml", NOW.plus(-MINUTE))
            .after("first-class/peer_own-third-letter.eml", NOW.plus(-MINUTE)),
        peer("own-next-day", "The fourth letter, a day later.", used("5", 5))
            .after("first-class/peer_own.eml", NOW.plus(-DAY))
            .after("first-class/peer_own-second-letter.eml", NOW.plus(-DAY))
            .after("first-class/peer_own-third-letter.eml", NOW.plus(-DAY)),
        peer("own-other-sender", "Bob writes from another address; the same key signed the use.", {
            with_proof(&token(), &elsewhere, 4, NOW.plus(-MINUTE), HOLDER)
        }),
        peer("own-late", "It rested for 14 days on its way.", days_ago(14)),
        peer("own-retired-key", "The key that signed the stamp is retired.", {
            with_proof(&signed(ALICE, OLD_OWN, &given("old")), &letter("1"), 1, NOW, HOLDER)
        }),
        peer("own-recipient", "The delivery says for whom it is.", used("1", 1)).to(ALICE),
        case(Reason::Again, "own", "The same letter, delivered a second time.", used("1", 1))
            .own(&keys())
            .config(BOTH)
            .after("first-class/peer_own.eml", NOW.plus(-MINUTE)),
        case(Reason::BadHolderProof, "own-too-late", "Bob signed the use more than 14 days ago.", {
            with_proof(&token(), &letter("1"), 1, NOW.plus(-14 * DAY - 1), HOLDER)
        })
        .own(&keys()),
    ]
}

fn refused() -> Vec<Case> {
    let bad = |reason, detail, shows, message: Vec<u8>| case(reason, detail, shows, message).own(&keys()).config(BOTH);
    let with_stamp = |token: &str| with_proof(token, &letter("1"), 1, NOW.plus(-MINUTE), HOLDER);
    let of = |stamp: Stamp| with_stamp(&signed(ALICE, OWN, &stamp));
    let other = Fingerprint::of(&Message::parse(letter("2").as_bytes()));
    let hashed = Audience::hashed(&address(ALICE), [1; 16]);
    let since = NOW.plus(-DAY);
    let revoked = |since| with_old(OwnKeyStatus::Revoked { since });
    let old = || with_stamp(&signed(ALICE, OLD_OWN, &given("old")));
    vec![
        bad(Reason::BadHolderProof, "own-captured", "A thief put the stamp and its use on another message.", {
            proven(&token(), &letter("1"), &other, 1, NOW, HOLDER)
        }),
        bad(Reason::NoHolderProof, "own", "A thief has the stamp alone.", with(&token(), &letter("1"))),
        bad(Reason::BadHolderProof, "own-stranger", "Another key signed the use.", {
            with_proof(&token(), &letter("1"), 1, NOW, STRANGER)
        }),
        bad(Reason::Used, "own", "The use of another letter.", used("2", 1))
            .after("first-class/peer_own.eml", NOW.plus(-MINUTE)),
        bad(Reason::Malformed, "own-once", "For one use.", of(Stamp { many: false, ..given("given") })),
        bad(Reason::Malformed, "own-no-holder", "For no key.", {
            of(Stamp { many: false, holder: None, ..given("given") })
        }),
        bad(Reason::Malformed, "own-no-sender", "For no correspondent.", of(Stamp { sender: None, ..given("given") })),
        bad(Reason::NotForMe, "own-other-address", "The user's one address speaks for the other.", {
            of(Stamp { audience: Audience::Plain(address(WORK)), ..given("given") })
        }),
        bad(Reason::NotForMe, "own-hashed", "The address is hashed.", of(Stamp { audience: hashed, ..given("given") })),
        bad(Reason::NotForMe, "own-other-recipient", "The letter is for the other address.", used("1", 1)).to(WORK),
        bad(Reason::Expired, "own", "The stamp's window is over.", {
            of(Stamp { expires: Some(NOW.plus(-5 * MINUTE - 1)), ..given("given") })
        }),
        bad(Reason::KeyRevoked, "own", "The user's key was stolen, and the user revoked it.", old())
            .own(&revoked(since)),
        bad(Reason::ByRecipient, "own", "The user revoked the stamp.", used("1", 1)).row(format!(
            "{{\"row\":\"standing\",\"vendor\":\"{ALICE}\",\"serial\":\"given\",\"standing\":{{\"revoked\":{}}}}}",
            since.0
        )),
    ]
}

fn of_others() -> Vec<Case> {
    let with_stamp = |token: &str| with_proof(token, &letter("1"), 1, NOW.plus(-MINUTE), HOLDER);
    let in_name = |of: &str, kid: u8, seed: u8| {
        let named = issuer(&address(of), &key(kid).public()).unwrap();
        with_stamp(&signed_as(&named, seed, &given("given")))
    };
    let bobs = "bob@y.example";
    vec![
        case(Reason::Forged, "own", "A stranger signed in the user's name.", in_name(ALICE, OWN, STRANGER))
            .own(&keys()),
        case(Reason::Forged, "own-holder", "The correspondent signed in the user's name.", in_name(ALICE, OWN, HOLDER))
            .own(&keys()),
        case(Reason::Forged, "own-vendor", "The vendor signed in the user's name.", in_name(ALICE, OWN, VENDOR))
            .own(&keys()),
        case(Reason::UnknownKey, "own", "A stranger signed in the user's name with a key of that name.", {
            in_name(ALICE, STRANGER, STRANGER)
        })
        .own(&keys()),
        case(
            Reason::UnknownVendor,
            "address-not-mine",
            "The address is not the user's.",
            in_name(bobs, STRANGER, STRANGER),
        )
        .own(&keys()),
        case(Reason::UnknownVendor, "own-without-keys", "The user's keys are on another host.", used("1", 1)),
        case(
            Reason::UnknownVendor,
            "address-of-a-document",
            "A vendor's document speaks for no address.",
            in_name(bobs, VENDOR, VENDOR),
        )
        .vendor("bob.json", {
            let named = issuer(&address(bobs), &key(VENDOR).public()).unwrap();
            pinned(bobs, &[(named.key_id(), "")], "")
        })
        .own(&keys()),
    ]
}
