//! Accepted messages: good stamps in every place and form, messages that come again, grants, holders' stamps, rules.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::stamp::armor::{BEGIN, END as END_MARKER};
use mailstamp::stamp::audience::Audience;
use mailstamp::stamp::claims::Stamp;
use mailstamp::stamp::extract::Place;
use mailstamp::time::UnixTime;
use mailstamp::verdict::reason::Reason;

pub fn cases() -> Vec<Case> {
    [header_places(), other_places(), recipients(), times_and_keys(), several(), again(), grants(), peers(), rules()]
        .concat()
}

fn paid(detail: &'static str, shows: &'static str, message: impl Into<Vec<u8>>) -> Case {
    case(Reason::Paid, detail, shows, message)
}

fn header_places() -> Vec<Case> {
    let stamp = token("header");
    let (front, back) = stamp.split_at(120);
    let quoted = |text: &str| format!("=?utf-8?q?{}?=", text.replace('_', "=5F").replace('.', "=2E"));
    let field = |value: &str| format!("Digital-Stamp: {value}\n{}", letter("1"));
    let crlf = letter("1").replace('\n', "\r\n");
    vec![
        paid("header", "A plain stamp in the header, as affix folds it.", with(&stamp, &letter("1"))),
        paid("header-crlf", "The same with CRLF line ends.", with(&stamp, &crlf)),
        paid("header-unfolded", "The whole stamp on one line, longer than 78 columns.", field(&stamp)),
        paid(
            "header-refolded",
            "Folded anew on the way: tabs, blanks inside the token, an empty continuation, another spelling of the name.",
            format!("digital-STAMP :\n\t{front} \n \n\t  {back}\t\n{}", letter("1")),
        ),
        paid(
            "header-encoded-word",
            "Rewritten as encoded-words on the way, in the quoted-printable form.",
            field(&format!("{}\n {}", quoted(front), quoted(back))),
        ),
        paid(
            "header-encoded-word-base64",
            "Rewritten as an encoded-word in the base64 form, and the rest left as it was.",
            field(&format!("=?us-ascii?B?{}?=\n {back}", data_encoding::BASE64.encode(front.as_bytes()))),
        ),
        paid(
            "header-encoded-word-charset",
            "The charset of an encoded-word does not matter, nor does its language.",
            field(&format!("=?x-none*en?q?{}?={back}", front.replace('_', "=5F").replace('.', "=2e"))),
        ),
        paid(
            "header-white-space",
            "The five kinds of white space, wherever they stand in the token.",
            field(&format!("{front} \t\x0c\r\n {back}")),
        ),
        paid(
            "header-from-line",
            "The first line is a field with a blank before its colon, and no separator of an mbox.",
            format!("From : Bob <bob@y.example>\n{}", String::from_utf8(with(&stamp, &letter("1"))).unwrap()),
        ),
        paid("header-no-field-line", "Lines that are no fields cost only themselves.", {
            format!("no field\n{}", field(&stamp))
        }),
        paid(
            "header-parameters",
            "Parameters after the stamp change nothing: the mark reuse=return is only a message to the recipient.",
            with(&format!("{stamp}; reuse=return; later=1"), &letter("1")),
        ),
        paid(
            "header-mbox",
            "An mbox envelope line stands on top.",
            [b"From bob@y.example Tue Dec  1 11:59:00 2026\n".to_vec(), with(&stamp, &letter("1"))].concat(),
        ),
        paid(
            "header-forged-class",
            "A class field of the sender's own says nothing here.",
            format!("Digital-Stamp-Class: revoked; reason=by-vendor\n{}", field(&stamp)),
        ),
        paid(
            "header-unknown-claim",
            "Claims that are not known are ignored unless marked as critical.",
            field(&claims(r#""colour":["red"],"crit":["exp"]"#)),
        ),
        paid(
            "header-odd-claims",
            "What JSON allows may stand in claims that are not known: numbers of any size, half a surrogate pair.",
            field(&claims(r#""a":[1e400,-0,0.1E-9],"b":"\ud800","\ud800":1,"\ud801":18446744073709551616"#)),
        ),
        paid(
            "header-deep-claim",
            "Sixteen levels, the payload itself among them.",
            field(&claims(&format!(r#""a":{}{}"#, "[".repeat(15), "]".repeat(15)))),
        ),
        paid("header-crit-itself", "The list of critical claims may name itself.", {
            field(&claims(r#""crit":["crit","jti","aud"]"#))
        }),
        paid("header-longest-payload", "A payload of 2048 bytes.", field(&sized_claims(2048))),
        paid("time-offset", "A time with the largest offset, and a fraction.", {
            field(&claims(r#""nbf":"2026-12-02T11:59:00.999999999+23:59""#))
        }),
        paid("time-offset-west", "The same on the other side.", {
            field(&claims(r#""nbf":"2026-11-30T12:01:00-23:59""#))
        }),
        paid("time-leap-second", "A second 60 at the end of a month, in UTC.", {
            field(&claims(r#""nbf":"2026-11-30T15:59:60-08:00""#))
        }),
        paid(
            "time-first-year",
            "The year 1.",
            field(&claims(r#""iat":"0001-01-01T00:00:00Z","nbf":"2026-12-01T12:00:00Z""#)),
        ),
    ]
}

/// A stamp whose payload has these members too.
fn claims(more: &str) -> String {
    sign(&format!(r#"{{"jti":"header","aud":"alice@x.example","exp":"{END}",{more}}}"#), FOOTER)
}

fn other_places() -> Vec<Case> {
    let stamp = token("body");
    let plain = letter("1");
    let armoured = String::from_utf8(at(Place::Body, &stamp, &plain)).unwrap();
    let (_, text) = armoured.split_once("\n\n").unwrap();
    let encoded = |kind: &str, text: &str| format!("{}\n{text}", header("1", &format!("MIME-Version: 1.0\n{kind}\n")));
    let block = text.split("\n\n").next().unwrap();
    let quoted_printable = text.replace('=', "=3D").replace('_', "=5F").replace("v4.", "v4=\n.");
    let flowed: String = block.lines().map(|line| format!(" {line} \n")).collect();
    let (front, back) = stamp.split_at(60);
    vec![
        paid("body", "An armoured stamp, first in the text.", armoured.clone()),
        paid("body-crlf", "The same with CRLF line ends.", armoured.replace('\n', "\r\n")),
        paid("body-last", "Last in the text, with a list's footer behind it.", {
            format!("{plain}\n{block}\n\n_______________________\nthe list of friends\n")
        }),
        paid("body-in-the-middle", "Pasted between a greeting and what a phone writes below.", {
            let mut lines = plain.splitn(2, "\n\n");
            let (header, text) = (lines.next().unwrap(), lines.next().unwrap());
            format!("{header}\n\nHello!\n\n{block}\n\n{text}\nSent from my phone\n")
        }),
        paid("body-above-signature", "Last in the text, above the sender's signature.", {
            format!("{plain}\n{block}\n-- \nBob\n")
        }),
        paid("body-two-begins", "The first of two opening markers opens nothing.", {
            plain.replace("Dear Alice,", &format!("{BEGIN}\nDear Alice,\n\n{block}\n"))
        }),
        paid("body-end-missing", "Without its closing marker it is a stamp without markers.", {
            plain.replace("Dear Alice,", &block.replace(END_MARKER, ""))
        }),
        paid("body-bare", "Pasted without the markers.", plain.replace("Dear Alice,", &format!("  {front}\n{back}\n"))),
        paid("body-markers-far-apart", "16384 bytes between the markers.", {
            plain.replace("Dear Alice,", &far_apart(&stamp, 16_384))
        }),
        paid("body-misspelled-encoding", "The encoding's name is misspelled, as some programs write it.", {
            encoded("Content-Transfer-Encoding: Quoted_Printable (sic)", &quoted_printable)
        }),
        paid(
            "body-behind-unknown-encoding",
            "A text that no reader can decode is no text; the next one is searched.",
            {
                encoded(
                    "Content-Type: multipart/mixed; boundary=b",
                    &format!("--b\nContent-Transfer-Encoding: x-uuencode\n\n{block}\n--b\n\n{block}\n--b--\n"),
                )
            },
        ),
        paid("body-html", "In HTML, where the markers need no lines of their own.", {
            let joined = block.replace('\n', " ");
            encoded("Content-Type: text/html", &format!("<p>Hello <b>Alice</b> {joined}, bye.</p>\n"))
        }),
        paid(
            "body-quoted-printable",
            "In a quoted-printable text, with a soft line break inside the token.",
            encoded("Content-Transfer-Encoding: quoted-printable", &quoted_printable),
        ),
        paid(
            "body-base64",
            "In a base64 text.",
            encoded("Content-Transfer-Encoding: base64", &base64(text.as_bytes())),
        ),
        paid(
            "body-flowed",
            "In a flowed text: stuffed lines that end with a blank.",
            encoded("Content-Type: text/plain; format=flowed", &format!("Dear Alice,\n\n{flowed}")),
        ),
        paid(
            "body-multipart",
            "In the first text of a multipart, behind an HTML part.",
            encoded(
                "Content-Type: multipart/alternative; boundary=b",
                &format!(
                    "--b\nContent-Type: text/html\n\n<p>Dear Alice\n--b\nContent-Type: text/plain\n\n{text}--b--\n"
                ),
            ),
        ),
        paid("subject", "In the Subject, in brackets.", at(Place::Subject, &stamp, &plain)),
        paid(
            "subject-folded",
            "In the Subject, folded inside the token, behind the tag of a list.",
            plain.replace("a serious matter", &format!("[friends] Re: a serious matter [{front}\n {back}]")),
        ),
    ]
}

fn recipients() -> Vec<Case> {
    let for_ = |recipient: &str| with(&issue(&stamp_for("recipient", recipient)), &letter("1"));
    let salted = |recipient: &str| {
        let stamp = Stamp { audience: Audience::hashed(&address(recipient), [7; 16]), ..stamp("recipient") };
        String::from_utf8(with(&issue(&stamp), &letter("1"))).unwrap()
    };
    let worth = |value: u64| with(&issue(&Stamp { value, ..stamp("recipient") }), &letter("1"));
    vec![
        paid("recipient-case", "Neither domain nor local part cares for case.", for_("ALICE@X.Example")),
        paid(
            "recipient-idn",
            "The domain is written in Unicode here and in A-labels there.",
            for_("alice@xn--bcher-kva.example"),
        )
        .config("addresses = [\"alice@BÜCHER.example\"]"),
        paid("recipient-tag", "A tagged address is one of the user's by its pattern.", for_("alice+shop@x.example"))
            .config("addresses = [\"alice@x.example\", \"alice+*@x.example\"]"),
        paid("recipient-domain", "Every address of a domain is the user's.", for_("whoever@x.example"))
            .config("addresses = [\"*@x.example\"]"),
        paid("recipient-spelled", "Quotes that are not needed, a domain in upper case and with its dot.", {
            with(&claims_for(r#"\"Al\\ice\"@X.EXAMPLE."#), &letter("1"))
        }),
        paid("recipient-quoted", "A local part that needs its quotes.", {
            with(&claims_for(r#"\"al ice\"@x.example"#), &letter("1"))
        })
        .config(r#"addresses = ['"al ice"@x.example']"#),
        paid(
            "recipient-dots",
            "Dots need no letters beside them.",
            with(&claims_for(".al..ice.@x.example"), &letter("1")),
        )
        .config("addresses = ['\".al..ice.\"@x.example']"),
        paid("recipient-quoted-hashed", "The hash covers the canonical form, which has no quotes.", {
            salted("\"al ice\"@x.example")
        })
        .config(r#"addresses = ['"al ice"@x.example']"#),
        paid(
            "recipient-expression",
            "The user's addresses are given by a regular expression.",
            for_("al.ice@x.example"),
        )
        .config("addresses = ['/^al[.]?ice@x[.]example$/']"),
        paid("recipient-hashed", "The stamp names the recipient by a salted hash.", salted("alice@x.example")),
        paid(
            "recipient-hashed-tag",
            "A hash of a tagged address: the pattern gives no address to try, but the message names one of the user's.",
            salted("alice+shop@x.example").replace("alice@x.example>", "alice+shop@x.example>"),
        )
        .config("addresses = [\"alice+*@x.example\"]"),
        paid(
            "recipient-envelope",
            "The envelope's recipient is the one whom the stamp names.",
            for_("alice@z.example"),
        )
        .config("addresses = [\"alice@x.example\", \"alice@z.example\"]")
        .to("alice@z.example"),
        paid(
            "recipient-not-in-header",
            "The message names another recipient (this is a blind copy): only the stamp counts.",
            String::from_utf8(for_("alice@x.example"))
                .unwrap()
                .replace("To: Alice <alice@x.example>", "To: undisclosed-recipients:;"),
        ),
        paid("price-equal", "Just worth what this address asks.", worth(5))
            .config("addresses = [{ address = \"alice@x.example\", price = 5 }, \"other@x.example\"]"),
        paid("price-more", "Worth more than is asked.", worth(6))
            .config("price = 5\naddresses = [\"alice@x.example\"]"),
        paid("price-zero", "Worth nothing, and nothing is asked: a stamp all the same.", worth(0))
            .config("price = 0\naddresses = [\"alice@x.example\"]"),
    ]
}

/// A stamp with this recipient, written as here.
fn claims_for(recipient: &str) -> String {
    sign(&format!(r#"{{"jti":"recipient","aud":"{recipient}","exp":"{END}"}}"#), FOOTER)
}

fn times_and_keys() -> Vec<Case> {
    let window = |from: UnixTime, until: UnixTime| {
        let stamp = Stamp { issued: None, not_before: Some(from), expires: Some(until), ..stamp("window") };
        with(&issue(&stamp), &letter("1"))
    };
    let (from, until) = (NOW.plus(-DAY), NOW.plus(DAY));
    let keyed = || with(&token("key"), &letter("1"));
    let by_new_key = with(&issue_as("stamps.example", "2027q1", NEW_KEY, &stamp("key")), &letter("1"));
    let listed = pinned_keys("stamps.example", &[("2027q1", NEW_KEY, "")], "");
    vec![
        paid("window-first-second", "In the first second of its window.", window(from, until)).at(from),
        paid("window-last-second", "In the last second of its window.", window(from, until)).at(until),
        paid("window-early-within-skew", "Five minutes early: clocks may differ.", window(from, until))
            .at(from.plus(-5 * MINUTE)),
        paid("window-late-within-skew", "Five minutes late: clocks may differ.", window(from, until))
            .at(until.plus(5 * MINUTE)),
        paid("window-late-allowed", "Three days late, where the user accepts four.", window(from, until))
            .at(until.plus(3 * DAY))
            .config("addresses = [\"alice@x.example\"]\n[stamps]\nexpiry_grace = \"4d\""),
        paid("window-longest", "A window just as long as the policy allows.", window(from, from.plus(400 * DAY))),
        paid(
            "window-none-allowed",
            "A stamp without an end, where the user accepts such stamps.",
            with(&issue(&Stamp { expires: None, ..stamp("window") }), &letter("1")),
        )
        .config("addresses = [\"alice@x.example\"]\n[stamps]\nallow_no_expiry = true"),
        paid("key-verify-only", "The key signs no more; its stamps are good until they end.", keyed())
            .vendor("stamps.example.json", pinned("stamps.example", &[("2026q4", ",\"status\":\"verify-only\"")], "")),
        paid("key-revoked-later", "The key is revoked from the next second on.", keyed()).vendor(
            "stamps.example.json",
            pinned(
                "stamps.example",
                &[("2026q4", &format!(",\"status\":\"revoked\",\"since\":\"{}\"", NOW.plus(1)))],
                "",
            ),
        ),
        paid(
            "key-in-directory",
            "The key stands in a directory signed with the key that is pinned, in its last second.",
            by_new_key,
        )
        .vendor("directory.json", directory(NOW, &listed)),
        paid("key-last-second", "The key has ended, just within what clocks may differ.", keyed()).vendor(
            "stamps.example.json",
            pinned("stamps.example", &[("2026q4", &format!(",\"not_after\":\"{}\"", NOW.plus(-5 * MINUTE)))], ""),
        ),
        paid("key-first-second", "The key will hold soon, just within what clocks may differ.", keyed()).vendor(
            "stamps.example.json",
            pinned("stamps.example", &[("2026q4", &format!(",\"not_before\":\"{}\"", NOW.plus(5 * MINUTE)))], ""),
        ),
        paid(
            "reuse-not-looked-for",
            "Used before, where the user keeps no log of used serials.",
            with(&token("header"), &letter("2")),
        )
        .after("first-class/paid_header.eml", NOW.plus(-DAY))
        .config("addresses = [\"alice@x.example\"]\n[used_log]\nenabled = false"),
    ]
}

fn several() -> Vec<Case> {
    let foreign = issue_as("other.example", "a", OTHER_VENDOR, &stamp("several"));
    let other_vendor = pinned_keys("other.example", &[("a", OTHER_VENDOR, "")], "");
    let two = |one: &str, other: &str| with(one, std::str::from_utf8(&with(other, &letter("1"))).unwrap());
    vec![
        paid(
            "several-one-unknown",
            "Of two vendors' stamps one is unknown here; the other counts.",
            two(&foreign, &token("several")),
        ),
        paid(
            "several-both-good",
            "Two vendors' stamps, both good: the first is spent, the other is left.",
            two(&foreign, &token("several")),
        )
        .vendor("other.example.json", other_vendor.clone()),
        paid(
            "several-second-left",
            "Of two good stamps the first was spent: the second is still good.",
            with(&token("several"), &letter("2")),
        )
        .vendor("other.example.json", other_vendor.clone())
        .after("first-class/paid_several-both-good.eml", NOW.plus(-MINUTE)),
        paid(
            "several-one-used",
            "One of two vendors' stamps was used; the other counts.",
            String::from_utf8(two(&token("header"), &foreign)).unwrap().replace("letter 1.", "another letter."),
        )
        .vendor("other.example.json", other_vendor)
        .after("first-class/paid_header.eml", NOW.plus(-DAY)),
        paid(
            "several-versions",
            "A stamp of a later version beside one of ours: each program takes the one that it knows.",
            two(&format!("v5.public.{}", "A".repeat(200)), &token("several")),
        ),
        paid("several-eight", "Eight stamps are looked at; the last one is good.", {
            let seven: String = (0..7).map(|n| format!("Digital-Stamp: number-{n}\n")).collect();
            [seven.into_bytes(), with(&token("several"), &letter("1"))].concat()
        }),
        paid("several-empty", "Fields without a stamp do not count towards the eight.", {
            let empty = "Digital-Stamp:\nDigital-Stamp: ; reuse=return\nDigital-Stamp: \t\n".repeat(3);
            [empty.into_bytes(), with(&token("several"), &letter("1"))].concat()
        }),
        paid("several-behind-too-long", "A token beyond the limits does not count towards them either.", {
            let long = format!("Digital-Stamp: v4.public.{}\n", "A".repeat(8192)).repeat(9);
            [long.into_bytes(), with(&token("several"), &letter("1"))].concat()
        }),
        paid("several-copies", "The same stamp twenty times is one stamp.", {
            let field = format!("Digital-Stamp: {}\n", token("several"));
            field.repeat(20) + &letter("1")
        }),
    ]
}

fn again() -> Vec<Case> {
    let again = |detail, shows, message: Vec<u8>| case(Reason::Again, detail, shows, message);
    let message = || with(&token("header"), &letter("1"));
    let first = "first-class/paid_header.eml";
    let long = letter("1") + &"x".repeat(1_200) + "\n";
    let broken = format!("{}\n {}", "x".repeat(998), "x".repeat(202));
    let other_way =
        format!("Received: from list.example\nX-Spam-Score: 3\n{}\n\n", String::from_utf8(message()).unwrap())
            .replace('\n', "\r\n");
    vec![
        again("same-message", "The mail system delivers the message a second time.", message())
            .after(first, NOW.plus(-MINUTE)),
        again(
            "by-another-way",
            "The same message by another host: other trace, line ends, empty lines.",
            other_way.into(),
        )
        .after(first, NOW.plus(-MINUTE)),
        again("long-line-broken", "The same message, after Postfix broke a long line on its way.", {
            String::from_utf8(with(&token("header"), &long)).unwrap().replace(&"x".repeat(1_200), &broken).into_bytes()
        })
        .row(used_row("header", &long, NOW.plus(-MINUTE), 0)),
        again("after-its-window", "Accepted before its window ended, and tried again after.", message())
            .after(first, END)
            .at(END.plus(4 * DAY)),
        again("last-day", "Five days after it was accepted, to the second.", message())
            .after(first, NOW.plus(-5 * DAY)),
        again("twentieth-time", "It may come again twenty times, where the user says so.", message())
            .after_times(first, NOW.plus(-DAY), 20)
            .config(TWENTY),
        again("clock-set-back", "The clock was set back since it was accepted.", message()).after(first, NOW.plus(DAY)),
    ]
}

fn grants() -> Vec<Case> {
    let reply = |serial: &str| {
        let stamp = Stamp { sender: Some(address("alice@x.example")), ..stamp_for(serial, "bob@y.example") };
        with(&issue(&stamp), &letter("2").replace("Subject: a", "Subject: Re: a"))
    };
    let since = NOW.plus(-9 * DAY).0;
    let grant = |kind: &str| format!("{{\"grant\":{{\"kind\":\"{kind}\",\"since\":{since}}}}}");
    vec![
        case(
            Reason::Return,
            "reply",
            "A reply brings back the stamp that the user sent: it names the other one.",
            reply("grant"),
        )
        .row(standing_row("grant", &grant("return"))),
        case(Reason::Return, "after-its-window", "A grant holds beyond the window.", reply("grant"))
            .row(standing_row("grant", &grant("return")))
            .at(END.plus(50 * DAY)),
        case(
            Reason::MultiUse,
            "second-letter",
            "The user lets this sender use the stamp again.",
            with(&token("grant"), &letter("2")),
        )
        .row(used_row("grant", &letter("1"), NOW.plus(-DAY), 0))
        .row(standing_row("grant", &grant("multi-use"))),
        case(
            Reason::MultiUse,
            "last-second",
            "The grant has an end, and this is its last second.",
            with(&token("grant"), &letter("2")),
        )
        .row(standing_row(
            "grant",
            &format!("{{\"grant\":{{\"kind\":\"multi-use\",\"since\":{since},\"until\":{}}}}}", NOW.0),
        )),
    ]
}

fn peers() -> Vec<Case> {
    let held = issue(&Stamp { many: true, holder: Some(key(HOLDER).public()), ..stamp("peer") });
    let once = issue(&Stamp { holder: Some(key(HOLDER).public()), ..stamp("peer-once") });
    let soon = Stamp { many: true, holder: Some(key(HOLDER).public()), ..stamp("peer-soon") };
    let soon = issue(&Stamp { expires: Some(NOW.plus(5 * MINUTE)), ..soon });
    let peer = |detail, shows, message: Vec<u8>| case(Reason::Peer, detail, shows, message);
    vec![
        peer("proof", "A holder's stamp for many uses, and the holder's proof for this message.", {
            with_proof(&held, &letter("1"), 1, NOW.plus(-MINUTE), HOLDER)
        }),
        peer("oldest-proof", "A proof just as old as a message may come again.", {
            with_proof(&held, &letter("1"), 1, NOW.plus(-5 * DAY), HOLDER)
        }),
        peer("behind-empty-proofs", "Fields without a proof do not count towards the eight.", {
            let message = with_proof(&held, &letter("1"), 1, NOW.plus(-MINUTE), HOLDER);
            ["Digital-Stamp-Use: \n".repeat(9).into_bytes(), message].concat()
        }),
        peer("newest-proof", "A proof from as far ahead.", {
            with_proof(&held, &letter("1"), 1, NOW.plus(5 * DAY), HOLDER)
        }),
        peer("second-letter", "The same stamp on another message, with a proof of its own.", {
            with_proof(&held, &letter("2"), 2, NOW.plus(-MINUTE), HOLDER)
        })
        .after("first-class/peer_proof.eml", NOW.plus(-MINUTE)),
        paid("holder-once", "A holder's stamp for one use is paid for like any other.", {
            with_proof(&once, &letter("1"), 3, NOW.plus(-MINUTE), HOLDER)
        }),
        case(Reason::Again, "peer", "A message with a holder's stamp, delivered a second time.", {
            with_proof(&held, &letter("1"), 1, NOW.plus(-MINUTE), HOLDER)
        })
        .after("first-class/peer_proof.eml", NOW.plus(-MINUTE)),
        peer("soon", "A holder's stamp that ends soon.", {
            with_proof(&soon, &letter("1"), 4, NOW.plus(-MINUTE), HOLDER)
        }),
        case(Reason::Again, "peer-ended", "The same, delivered a second time after the stamp has ended.", {
            with_proof(&soon, &letter("1"), 4, NOW.plus(-MINUTE), HOLDER)
        })
        .after("first-class/peer_soon.eml", NOW)
        .at(NOW.plus(DAY)),
    ]
}

fn rules() -> Vec<Case> {
    let allow = |text: &str| format!("addresses = [\"alice@x.example\"]\nallow = [{text}]");
    vec![
        case(Reason::Rule, "address", "A sender whom the user lets through.", letter("1"))
            .config(&allow("\"bob@y.example\"")),
        case(Reason::Rule, "domain", "Everybody at a domain.", letter("1")).config(&allow("\"*@y.example\"")),
        case(Reason::Rule, "message-too-large", "Larger than the user has looked at; the sender needs no looking.", {
            letter("1") + &"And so on.\n".repeat(100)
        })
        .config(&format!("max_message_size = 1024\n{}", allow("\"bob@y.example\""))),
        case(
            Reason::Rule,
            "bad-stamp",
            "The stamp is no good; a rule lets the sender through all the same.",
            with("v4.public.bad", &letter("1")),
        )
        .config(&allow("\"bob@y.example\"")),
    ]
}
