//! Stamps of a mailing list: its key is known, and its member signs Date and Message-ID of each post.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::directory::own_keys::{OwnKeyStatus, OwnKeys, PublicOwnKey};
use mailstamp::message::header::fold;
use mailstamp::message::parse::Message;
use mailstamp::message::post;
use mailstamp::peer::issuer;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::issue;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::token::Token;
use mailstamp::verdict::reason::Reason;

const ALICE: &str = "alice@x.example";
const LIST: &str = "talk@lists.example";

fn keys() -> OwnKeys {
    let own = |seed: u8| PublicOwnKey { key: key(seed).public(), status: OwnKeyStatus::Active };
    let mut keys: OwnKeys = [(address(ALICE), vec![own(OWN)])].into_iter().collect();
    keys.add_list(&address(LIST), vec![own(OLD_OWN)]);
    keys
}

/// A stamp for Bob's mail to this address, which issued it.
fn token(of: &str, seed: u8) -> String {
    let stamp = Stamp {
        sender: Some(address("bob@y.example")),
        issued: Some(NOW.plus(-DAY)),
        many: true,
        holder: Some(key(HOLDER).public()),
        ..Stamp::new(Serial::new("given").unwrap(), Audience::Plain(address(of)), NOW.plus(13 * DAY))
    };
    let issuer = issuer(&address(of), &key(seed).public()).unwrap();
    issue::issue(&stamp, &issuer, &key(seed)).unwrap().as_str().to_owned()
}

/// The letter with this stamp, used as a post.
fn posted(token: &str, letter: &str) -> Vec<u8> {
    let stamp = Token::parse(token).unwrap();
    let hash = post::hash(&Message::parse(letter.as_bytes())).unwrap();
    let used = Proof::sign_post(&stamp, &hash, &Serial::from_random([1; 16]), NOW.plus(-MINUTE), &key(HOLDER));
    with(token, &format!("{}{letter}", fold("Digital-Stamp-Use", used.as_str(), "\n")))
}

fn post_1() -> String {
    String::from_utf8(posted(&token(LIST, OLD_OWN), &letter("1"))).unwrap()
}

/// What the list makes of the post.
fn sent(post: &str) -> String {
    let post = post.replace("From: Bob <bob@y.example>", &format!("From: Bob via Talk <{LIST}>"));
    post.replace("Subject: ", "List-Id: <talk.lists.example>\nSubject: [talk] ") + "-- \nTalk\n"
}

pub fn cases() -> Vec<Case> {
    let of = |reason, detail, shows, message: String| {
        case(reason, detail, shows, message.into_bytes()).own(&keys()).to(ALICE)
    };
    let before = "first-class/peer_list-post.eml";
    let row = format!(
        "{{\"row\":\"standing\",\"vendor\":\"{LIST}\",\"serial\":\"given\",\"standing\":{{\"revoked\":{}}}}}",
        NOW.plus(-DAY).0
    );
    let own = String::from_utf8(posted(&token(ALICE, OWN), &letter("1"))).unwrap();
    vec![
        of(Reason::Peer, "list-post", "The list rewrote From, and added a prefix and a footer.", sent(&post_1())),
        of(Reason::Peer, "list-direct", "The post as it was sent to the list.", post_1()),
        of(Reason::Again, "list", "The same copy, delivered a second time.", sent(&post_1()))
            .after(before, NOW.plus(-MINUTE)),
        of(Reason::Used, "list", "Another text with the same Date and Message-ID.", sent(&post_1()) + "Buy this.\n")
            .after(before, NOW.plus(-MINUTE)),
        of(Reason::BadHolderProof, "list-other-id", "The use of a post on another one.", {
            sent(&post_1()).replace("<1@y.example>", "<2@y.example>")
        }),
        of(Reason::BadHolderProof, "own-as-post", "A use of a stamp that is no list's covers the whole message.", own),
        of(Reason::ByRecipient, "list", "The user moved a post of this member to Junk.", sent(&post_1())).row(row),
        case(Reason::UnknownVendor, "list", "The key of the list is not pinned.", sent(&post_1()).into_bytes()),
    ]
}
