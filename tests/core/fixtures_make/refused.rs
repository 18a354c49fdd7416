//! Refused messages: invalid, used and revoked stamps.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::message::fingerprint::Fingerprint;
use mailstamp::message::parse::Message;
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::holder_proof::Proof;
use mailstamp::stamp::serial::Serial;
use mailstamp::stamp::signing::SecretKey;
use mailstamp::stamp::token::Purpose;
use mailstamp::verdict::reason::Reason;

pub fn cases() -> Vec<Case> {
    [malformed(), forged(), not_for_me(), windows(), keys(), holders(), used(), revoked()].concat()
}

fn malformed() -> Vec<Case> {
    let bad = |detail, shows, token: &str| case(Reason::Malformed, detail, shows, with(token, &letter("1")));
    let good = token("malformed");
    let claims = |text: &str| sign(text, FOOTER);
    let more = |more: &str| claims(&format!(r#"{{"jti":"1","aud":"alice@x.example","exp":"{END}",{more}}}"#));
    let to = |recipient: &str| claims(&format!(r#"{{"jti":"1","aud":"{recipient}","exp":"{END}"}}"#));
    let from = |vendor: &str| sign(r#"{"jti":"1"}"#, &format!(r#"{{"iss":"{vendor}","kid":"1"}}"#));
    let raw = |value: &str| format!("Digital-Stamp: {value}\n{}", super::stamps::letter("1"));
    let (front, back) = good.split_at(120);
    vec![
        case(
            Reason::Malformed,
            "vertical-tab",
            "A vertical tab is no white space.",
            raw(&format!("{front}\x0b{back}")),
        ),
        case(Reason::Malformed, "no-break-space", "Nor is a no-break space.", raw(&format!("{front}\u{a0}{back}"))),
        case(
            Reason::Malformed,
            "line-separator",
            "Nor is any other blank of Unicode.",
            raw(&format!("{front}\u{2028}{back}")),
        ),
        case(Reason::Malformed, "body-encoded-word", "Encoded-words have no place in a text.", {
            let block = mailstamp::stamp::armor::armour(&good, "\n").replace("v4.public.", "=?us-ascii?q?v4.public.?=");
            super::stamps::letter("1").replace("Dear Alice,", &block)
        }),
        case(
            Reason::Malformed,
            "beside-over-limit",
            "A malformed stamp was found; one beyond the limits adds nothing.",
            raw("hello").replacen("Digital", &format!("Digital-Stamp: {}\nDigital", "v".repeat(8193)), 1),
        ),
        bad(
            "longest-token",
            "A token of 8192 characters is within the limits, and its payload is not.",
            &format!("v4.public.{}", "A".repeat(8182)),
        ),
        bad("payload-too-long", "A payload of 2049 bytes.", &sized_claims(2049)),
        bad(
            "footer-too-long",
            "A footer of 1025 bytes.",
            &sign(
                r#"{"jti":"1"}"#,
                &FOOTER.replace('}', &format!(",\"a\":\"{}\"}}", "x".repeat(1025 - 7 - FOOTER.len()))),
            ),
        ),
        bad("no-footer", "A stamp names its vendor.", good.rsplit_once('.').unwrap().0),
        bad("too-deep", "Seventeen levels.", &more(&format!(r#""a":{}{}"#, "[".repeat(16), "]".repeat(16)))),
        bad("twice", "An unknown claim that names a member twice.", &more(r#""a":{"b":1,"\u0062":1}"#)),
        bad("no-json", "What JSON does not allow is not allowed in unknown claims.", &more(r#""a":01"#)),
        bad("value-fraction", "A value is written in digits.", &more(r#""val":1.0"#)),
        bad("value-exponent", "Without an exponent.", &more(r#""val":1e0"#)),
        bad("value-minus", "And without a sign.", &more(r#""val":-0"#)),
        bad("crit-no-list", "The critical claims are a list.", &more(r#""crit":"exp""#)),
        bad("crit-no-names", "A list of names, before it matters which.", &more(r#""crit":["colour",1]"#)),
        bad("time-blank", "A blank instead of the T.", &more(r#""nbf":"2026-11-21 12:00:00Z""#)),
        bad("time-lower-case", "The letters are in upper case.", &more(r#""nbf":"2026-11-21t12:00:00z""#)),
        bad("time-offset", "A day is no offset.", &more(r#""nbf":"2026-11-21T12:00:00+24:00""#)),
        bad("time-leap-second", "No second 60 within a month.", &more(r#""nbf":"2026-11-21T23:59:60Z""#)),
        bad(
            "time-leap-second-local",
            "Nor at the end of one that is not UTC's.",
            &more(r#""nbf":"2026-11-30T23:59:60+01:00""#),
        ),
        bad("time-year", "There was no year 0.", &more(r#""iat":"0000-12-31T12:00:00Z""#)),
        bad("time-fraction", "Ten digits of a second.", &more(r#""nbf":"2026-11-21T12:00:00.0123456789Z""#)),
        bad("recipient-unquoted", "A blank needs quotes.", &to("al ice@x.example")),
        bad("recipient-name", "An address has no name beside it.", &to("Alice <alice@x.example>")),
        bad("recipient-invisible", "A zero-width space in an address.", &to("al\u{200b}ice@x.example")),
        bad("sender", "The sender is an address, if there is one.", &more(r#""sub":"bob""#)),
        bad("vendor-upper-case", "A vendor's domain is in lower case.", &from("Stamps.Example")),
        bad("vendor-dot", "Without a dot at the end.", &from("stamps.example.")),
        bad("vendor-unicode", "As A-labels.", &from("b\u{fc}cher.example")),
        bad("vendor-address", "A correspondent's address is in canonical form.", &from("Bob@y.example")),
        bad("vendor-quoted", "And one that needs no quotes.", &from(r#"\"bob b\"@y.example"#)),
        bad("garbage", "In the field that is made for stamps anything counts as one.", "hello"),
        bad("truncated", "Cut in the middle.", &good[..40]),
        bad("padded", "Base64 with padding: a token has one spelling only.", &good.replacen(".eyJ", "=.eyJ", 1)),
        bad("other-letters", "Base64 of the other alphabet.", &format!("v4.public.{}+/.e30", "A".repeat(120))),
        bad("no-vendor", "The footer names no vendor.", &sign(r#"{"jti":"1"}"#, "{}")),
        bad(
            "two-vendors",
            "The footer names two vendors.",
            &sign(r#"{"jti":"1"}"#, r#"{"iss":"stamps.example","iss":"other.example","kid":"2026q4"}"#),
        ),
        bad(
            "two-recipients",
            "The vendor signed two recipients under one name: which one counts would be a matter of the reader.",
            &claims(&format!(r#"{{"jti":"1","aud":"bob@y.example","aud":"alice@x.example","exp":"{END}"}}"#)),
        ),
        bad("no-serial", "Signed without a serial.", &claims(&format!(r#"{{"aud":"alice@x.example","exp":"{END}"}}"#))),
        bad(
            "serial",
            "A serial with characters that it must not have.",
            &claims(&format!(r#"{{"jti":"a b","aud":"alice@x.example","exp":"{END}"}}"#)),
        ),
        bad(
            "value",
            "A value beyond 2^53-1.",
            &claims(&format!(r#"{{"jti":"1","aud":"alice@x.example","exp":"{END}","val":9007199254740992}}"#)),
        ),
        bad(
            "time",
            "A time that is no RFC 3339.",
            &claims(r#"{"jti":"1","aud":"alice@x.example","exp":"2026-12-24"}"#),
        ),
        case(Reason::Malformed, "good-behind-eight", "Only eight stamps are looked at; the good one is the ninth.", {
            let eight: String = (0..8).map(|n| format!("Digital-Stamp: number-{n}\n")).collect();
            [eight.into_bytes(), with(&good, &letter("1"))].concat()
        }),
        bad(
            "many-without-holder",
            "For many uses, without a holder's key: every copy would be good.",
            &issue(&Stamp { many: true, ..stamp("many") }),
        ),
    ]
}

fn forged() -> Vec<Case> {
    let forged = |detail, shows, token: &str| case(Reason::Forged, detail, shows, with(token, &letter("1")));
    let good = token("forged");
    let payload = stamp("forged").payload();
    let signed =
        |key: SecretKey, footer: &str, purpose| key.sign(&payload, footer.as_bytes(), purpose).as_str().to_owned();
    let other_footer = data_encoding::BASE64URL_NOPAD.encode(br#"{"iss":"other.example","kid":"a"}"#);
    let other_vendor = pinned_keys("other.example", &[("a", OTHER_VENDOR, "")], "");
    vec![
        forged("one-bit", "One bit of the claims was changed.", &good.replacen("eyJqdGki", "eyJqdGko", 1)),
        forged(
            "stranger",
            "Signed by a stranger's key under the vendor's name.",
            &signed(key(STRANGER), FOOTER, Purpose::Stamp),
        ),
        forged(
            "other-purpose",
            "Signed by the vendor's key, and not as a stamp.",
            &signed(key(VENDOR), FOOTER, Purpose::Order),
        ),
        forged(
            "other-vendors-footer",
            "The footer of one trusted vendor on the stamp of another.",
            &format!("{}.{other_footer}", good.rsplit_once('.').unwrap().0),
        )
        .vendor("other.example.json", other_vendor.clone()),
        forged(
            "in-another-name",
            "One trusted vendor signs in the name of another.",
            &signed(key(OTHER_VENDOR), FOOTER, Purpose::Stamp),
        )
        .vendor("other.example.json", other_vendor),
    ]
}

fn not_for_me() -> Vec<Case> {
    let other = |detail, shows, message: Vec<u8>| case(Reason::NotForMe, detail, shows, message);
    let for_ = |recipient: &str| with(&issue(&stamp_for("other", recipient)), &letter("1"));
    let hashed = Stamp { audience: Audience::hashed(&address("bob@y.example"), [7; 16]), ..stamp("other") };
    let two = "addresses = [\"alice@x.example\", \"alice@z.example\"]";
    vec![
        other("stranger", "It names another person.", for_("carol@z.example")),
        other("stranger-in-to", "A forged To makes no address the user's.", {
            String::from_utf8(for_("carol@z.example")).unwrap().replace("alice@x.example>", "carol@z.example>").into()
        }),
        other("hashed", "A hash of another address, that of From.", with(&issue(&hashed), &letter("1"))),
        other("tag", "Without a pattern a tagged address is another one.", for_("alice+shop@x.example")),
        other("without-tag", "The pattern of tags does not cover the plain address.", for_("alice@x.example"))
            .config("addresses = [\"alice+*@x.example\"]"),
        other("subdomain", "A domain's pattern does not cover its subdomains.", for_("alice@mail.x.example"))
            .config("addresses = [\"*@x.example\"]"),
        other(
            "other-recipient",
            "One message, two recipients: the stamp is for the other one.",
            for_("alice@z.example"),
        )
        .config(two)
        .to("alice@x.example"),
        other("other-owner", "The message was accepted for its recipient, and comes to another person.", {
            with(&token("header"), &letter("1"))
        })
        .config("addresses = [\"*@x.example\"]")
        .to("bob@x.example")
        .row(owned(&used_row("header", &letter("1"), NOW.plus(-MINUTE), 0), "alice@x.example")),
        other("recipient-not-mine", "The envelope's recipient narrows the user's addresses and never adds one.", {
            for_("carol@z.example")
        })
        .config(two)
        .to("carol@z.example"),
        other("case-kept", "Where the user's host heeds case.", for_("Alice@x.example"))
            .config("case_sensitive = true\naddresses = [\"alice@x.example\"]"),
        other("case-kept-envelope", "The same with the envelope's recipient.", for_("Alice@x.example"))
            .config("case_sensitive = true\naddresses = [\"alice@x.example\"]")
            .to("alice@x.example"),
    ]
}

fn windows() -> Vec<Case> {
    let stamped = |stamp: Stamp| with(&issue(&stamp), &letter("1"));
    let window =
        |from, until| stamped(Stamp { issued: None, not_before: Some(from), expires: Some(until), ..stamp("window") });
    let (from, until) = (NOW.plus(-DAY), NOW.plus(DAY));
    vec![
        case(Reason::NotYetValid, "one-second", "A second earlier than clocks may differ.", window(from, until))
            .at(from.plus(-5 * MINUTE - 1)),
        case(
            Reason::NotYetValid,
            "issued-tomorrow",
            "It says that it was issued tomorrow.",
            stamped(Stamp { issued: Some(NOW.plus(DAY)), ..stamp("window") }),
        ),
        case(Reason::Expired, "one-second", "A second later than clocks may differ.", window(from, until))
            .at(until.plus(5 * MINUTE + 1)),
        case(Reason::Expired, "to-be-rejected", "The user wants it refused.", window(from, until))
            .at(until.plus(5 * MINUTE + 1))
            .config("addresses = [\"alice@x.example\"]\n[actions]\ninvalid = \"reject\"")
            .action("reject"),
        case(Reason::Expired, "later-than-allowed", "Later than the user accepts.", window(from, until))
            .at(until.plus(4 * DAY + 5 * MINUTE + 1))
            .config("addresses = [\"alice@x.example\"]\n[stamps]\nexpiry_grace = \"4d\""),
        case(
            Reason::Expired,
            "used-long-ago",
            "What its window lets the user forget is refused by its date.",
            window(from, until),
        )
        .at(until.plus(60 * DAY))
        .row(format!("{{\"row\":\"purged-through\",\"hour\":{}}}", until.plus(30 * DAY).0 / 3600)),
        case(
            Reason::NoWindow,
            "endless",
            "It would have to be remembered for ever.",
            stamped(Stamp { expires: None, ..stamp("window") }),
        ),
        case(
            Reason::WindowTooLong,
            "one-second",
            "A second longer than the user allows.",
            window(from, from.plus(400 * DAY + 1)),
        ),
        case(
            Reason::WindowTooLong,
            "since-its-issue",
            "Without a beginning the window is counted from the issue.",
            stamped(Stamp { expires: Some(NOW.plus(390 * DAY + 1)), ..stamp("window") }),
        ),
    ]
}

fn keys() -> Vec<Case> {
    let bad = |detail, shows, more: String| {
        let document = pinned("stamps.example", &[("2026q4", &more)], "");
        case(Reason::KeyRevoked, detail, shows, with(&token("key"), &letter("1")))
            .vendor("stamps.example.json", document)
    };
    vec![
        bad("always", "The vendor revoked the key.", ",\"status\":\"revoked\"".into()),
        bad(
            "since-now",
            "Revoked from this second on; a thief could write any date into a stamp, so only today counts.",
            format!(",\"status\":\"revoked\",\"since\":\"{NOW}\""),
        ),
        bad("ended", "The key has ended.", format!(",\"not_after\":\"{}\"", NOW.plus(-5 * MINUTE - 1))),
        bad("not-begun", "The key does not hold yet.", format!(",\"not_before\":\"{}\"", NOW.plus(5 * MINUTE + 1))),
        bad("stricter-counts", "One document calls the key active, another one revoked.", String::new())
            .vendor("friend.json", pinned("stamps.example", &[("2026q4", ",\"status\":\"revoked\"")], "")),
    ]
}

fn holders() -> Vec<Case> {
    let held = |serial| issue(&Stamp { many: true, holder: Some(key(HOLDER).public()), ..stamp(serial) });
    let token = held("peer");
    let bad = |detail, shows, message: Vec<u8>| case(Reason::BadHolderProof, detail, shows, message);
    let letter = letter("1");
    let of = |id: &str| Fingerprint::of(&Message::parse(super::stamps::letter(id).as_bytes()));
    let swapped = {
        let message = String::from_utf8(with_proof(&held("another"), &letter, 1, NOW, HOLDER)).unwrap();
        let at = message.find("Digital-Stamp-Use").unwrap();
        with(&token, &message[at..])
    };
    let late = NOW.plus(-5 * DAY - 1);
    vec![
        case(Reason::NoHolderProof, "none", "A holder's stamp, copied by a thief.", with(&token, &letter)),
        bad("other-message", "The proof was made for another message.", {
            proven(&token, &letter, &of("2"), 1, NOW, HOLDER)
        }),
        bad("other-stamp", "The proof was made for another stamp.", swapped),
        bad("stranger", "The proof was signed with another key.", with_proof(&token, &letter, 1, NOW, STRANGER)),
        bad("old", "The proof is older than a message may come again.", with_proof(&token, &letter, 1, late, HOLDER)),
        bad("footer", "A proof has no footer.", {
            let message = super::stamps::letter("1");
            let stamp = mailstamp::stamp::token::Token::parse(&token).unwrap();
            let of = Fingerprint::of(&Message::parse(message.as_bytes()));
            let used = Proof::sign(&stamp, &of, &Serial::new("1").unwrap(), NOW, &key(HOLDER));
            let used = key(HOLDER).sign(used.payload(), b"{}", Purpose::Use);
            with(&token, &format!("Digital-Stamp-Use: {}\n{message}", used.as_str()))
        }),
        bad("ninth", "Eight proofs are looked at; the good one is the ninth.", {
            let message = with_proof(&token, &letter, 1, NOW, HOLDER);
            ["Digital-Stamp-Use: x\n".repeat(8).into_bytes(), message].concat()
        }),
        bad("too-new", "A proof from further ahead than a message may come again.", {
            with_proof(&token, &letter, 1, NOW.plus(5 * DAY + 1), HOLDER)
        }),
        bad("garbage", "The field holds no proof.", {
            with(&token, &format!("Digital-Stamp-Use: v4.public.x\n{letter}"))
        }),
    ]
}

fn used() -> Vec<Case> {
    let used = |detail, shows, message: Vec<u8>| case(Reason::Used, detail, shows, message);
    let first = "first-class/paid_header.eml";
    let once = |id: &str| with(&token("header"), &letter(id));
    let changed = |from: &str, to: &str| String::from_utf8(once("1")).unwrap().replace(from, to).into_bytes();
    let held = issue(&Stamp { many: true, holder: Some(key(HOLDER).public()), ..stamp("peer") });
    vec![
        used("other-message", "A thief's message came first, or comes second: one of them is first-class.", once("2"))
            .after(first, NOW.plus(-MINUTE)),
        used("exported-row", "The log was moved here by export and import.", once("2")).row(used_row(
            "header",
            &letter("1"),
            NOW.plus(-DAY),
            0,
        )),
        used(
            "other-text",
            "The same Message-ID over another text is another message.",
            changed("letter 1.", "an offer."),
        )
        .after(first, NOW.plus(-MINUTE)),
        used("other-sender", "The same text from another sender is another message.", changed("bob@", "eve@"))
            .after(first, NOW.plus(-MINUTE)),
        used("other-subject", "The same text under another Subject is another message.", changed("serious", "funny"))
            .after(first, NOW.plus(-MINUTE)),
        used("other-type", "The same bytes as another type of part are another message.", {
            changed("Subject:", "Content-Type: text/html\nSubject:")
        })
        .after(first, NOW.plus(-MINUTE)),
        used("other-blanks", "A blank more within a line is another message.", changed("letter 1", "letter  1"))
            .after(first, NOW.plus(-MINUTE)),
        used("other-copy", "The same message to one recipient more is another message.", {
            changed("Subject:", "Cc: Carol <carol@z.example>\nSubject:")
        })
        .after(first, NOW.plus(-MINUTE)),
        used("too-late", "The same message, a second later than it may come again.", once("1"))
            .after(first, NOW.plus(-5 * DAY - 1))
            .dry_run("first-class again"),
        used("too-often", "The same message, once more than it may come again.", once("1"))
            .after_times(first, NOW.plus(-DAY), 21)
            .dry_run("first-class again")
            .config(TWENTY),
        used("first-of-several", "Of two good stamps the first in the message was spent.", {
            with(&issue_as("other.example", "a", OTHER_VENDOR, &stamp("several")), &letter("2"))
        })
        .vendor("other.example.json", pinned_keys("other.example", &[("a", OTHER_VENDOR, "")], ""))
        .after("first-class/paid_several-both-good.eml", NOW.plus(-MINUTE)),
        used("grant-ended", "The user's grant has ended, and the stamp is used.", with(&token("header"), &letter("2")))
            .row(used_row("header", &letter("1"), NOW.plus(-DAY), 0))
            .row(standing_row(
                "header",
                &format!("{{\"grant\":{{\"kind\":\"multi-use\",\"since\":0,\"until\":{}}}}}", NOW.0 - 1),
            )),
        used("nonce", "A holder's proof with a nonce that another message used.", {
            with_proof(&held, &letter("2"), 1, NOW.plus(-MINUTE), HOLDER)
        })
        .after("first-class/peer_proof.eml", NOW.plus(-MINUTE)),
    ]
}

fn revoked() -> Vec<Case> {
    let stamped = || with(&token("revoked"), &letter("1"));
    let since = NOW.plus(-DAY).0;
    let document = |more: &str| pinned("stamps.example", &[("2026q4", "")], more);
    let listed = ",\"revoked\":[\"revoked\"]";
    let grant = "{\"kind\":\"multi-use\",\"since\":0}";
    vec![
        case(Reason::ByRecipient, "standing", "The user revoked the stamp.", stamped())
            .row(standing_row("revoked", &format!("{{\"revoked\":{since}}}"))),
        case(Reason::ByRecipient, "outweighs-grant", "A revocation outweighs a grant.", stamped())
            .row(standing_row("revoked", &format!("{{\"grant\":{grant},\"revoked\":{since}}}"))),
        case(Reason::ByRecipient, "even-expired", "Revoked, and its window is over besides.", stamped())
            .row(standing_row("revoked", &format!("{{\"revoked\":{since}}}")))
            .at(END.plus(DAY)),
        case(Reason::ByVendor, "pinned", "The vendor's document lists the serial as revoked.", stamped())
            .vendor("stamps.example.json", document(listed)),
        case(Reason::ByVendor, "directory", "The vendor's signed directory lists it.", stamped())
            .vendor("directory.json", directory(NOW.plus(DAY), &document(listed))),
        case(Reason::ByVendor, "stale-directory", "A revocation does not become untrue by age.", stamped())
            .vendor("directory.json", directory(NOW.plus(-DAY), &document(listed))),
        case(Reason::ByVendor, "outweighs-grant", "The vendor's revocation outweighs the user's grant.", stamped())
            .vendor("stamps.example.json", document(listed))
            .row(standing_row("revoked", &format!("{{\"grant\":{grant}}}"))),
    ]
}
