//! Messages without a stamp, with too low a value, or with a stamp that cannot be judged.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::stamp::claims::Stamp;
use mailstamp::verdict::reason::Reason;

pub fn cases() -> Vec<Case> {
    [unstamped(), underpaid(), vendors(), versions(), limits()].concat()
}

fn unstamped() -> Vec<Case> {
    let none = |detail, shows, message: String| case(Reason::NoStamp, detail, shows, message);
    let block = mailstamp::stamp::armor::armour(&token("quoted"), "\n");
    let stamped = String::from_utf8(with(&token("attached"), &letter("2"))).unwrap();
    let quoted: String = block.lines().map(|line| format!("> {line}\n")).collect();
    let own = "addresses = [\"alice@x.example\"]\n[actions]";
    vec![
        none("plain", "An ordinary message.", letter("1")),
        none("empty", "No message at all.", String::new()),
        none("header-only", "A header without an end.", "From: bob@y.example\nSubject: x".into()),
        none("quoted", "A reply quotes the stamp of the message that it answers.", {
            format!("{}\n{quoted}> Dear Bob,\n\nyes.\n", header("1", ""))
        }),
        none("attached", "A stamped message is attached: the stamp is not on this one.", {
            let kind = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n";
            format!(
                "{}\n--b\n\nLook at this.\n\n--b\nContent-Type: message/rfc822\n\n{stamped}\n--b--\n",
                header("1", kind)
            )
        }),
        none("field-in-the-text", "A field after the header's end is text.", {
            format!("{}\nDigital-Stamp: {}\n", header("1", ""), token("quoted"))
        }),
        none("talk-in-subject", "The Subject speaks about stamps.", {
            letter("1").replace("a serious matter", "what does v4.public.foo mean?")
        }),
        none("to-be-held", "The user wants such mail kept aside.", letter("1"))
            .config(&format!("{own}\nunstamped = \"hold\""))
            .action("hold"),
        none("to-be-discarded", "The user wants no mail without a stamp.", letter("1"))
            .config(&format!("{own}\nunstamped = \"discard\""))
            .action("discard"),
        none("to-be-challenged", "The user wants its sender told how to get a stamp.", letter("1"))
            .config(&format!("{own}\nunstamped = \"challenge\""))
            .action("challenge"),
        none("begin-on-one-line", "A marker stands on a line of its own.", {
            letter("1").replace("Dear Alice,", &block.replacen("STAMP-----\n", "STAMP----- ", 1))
        }),
        none("end-on-one-line", "The second one too.", {
            letter("1")
                .replace("Dear Alice,", &block.replace("v4.public.", "x.public.").replace("\n-----END", " -----END"))
        }),
        none("end-missing", "A block without its end, of which nothing is whole.", {
            letter("1")
                .replace("Dear Alice,", &block.lines().take(3).map(|line| format!("{line}\n")).collect::<String>())
        }),
        none("quoted-end", "Its last line is quoted.", {
            letter("1")
                .replace("Dear Alice,", &block.replace("v4.public.", "x.public.").replace("-----END", "> -----END"))
        }),
        none("html-line-end", "In HTML a line end is a blank, so this stamp without markers is amid a line.", {
            format!(
                "{}\n<p>My stamp:\n{}</p>\n",
                header("1", "MIME-Version: 1.0\nContent-Type: text/html\n"),
                token("quoted")
            )
        }),
        none("unknown-encoding", "A text in an encoding that no reader knows is none.", {
            format!("{}\n{block}", header("1", "MIME-Version: 1.0\nContent-Transfer-Encoding: x-uuencode\n"))
        }),
        none("separator", "The first line is the separator of an mbox, whatever follows the word.", {
            format!("From : bob\n{}", letter("1")).replacen("From : bob", "From Digital-Stamp: x", 1)
        }),
        none("empty-field", "A field without a stamp in it.", format!("Digital-Stamp:\n{}", letter("1"))),
    ]
}

fn underpaid() -> Vec<Case> {
    let below = |detail, shows, message: Vec<u8>| case(Reason::BelowPrice, detail, shows, message);
    let stamp = |value| issue(&Stamp { value, ..stamp("cheap") });
    let both = |one: &str, other: &str| with(one, std::str::from_utf8(&with(other, &letter("2"))).unwrap());
    let five = "price = 5\naddresses = [\"alice@x.example\"]";
    vec![
        below("to-be-tagged", "The user wants it marked.", with(&stamp(4), &letter("1")))
            .config(&format!("{five}\n[actions]\nunderpaid = \"tag\""))
            .action("tag"),
        below("one-less", "Worth one credit less than is asked.", with(&stamp(4), &letter("1"))).config(five),
        below(
            "by-address",
            "Enough for one address, and not for the one that it names.",
            with(&stamp(4), &letter("1")),
        )
        .config("addresses = [{ address = \"alice@x.example\", price = 5 }, { address = \"*@x.example\", price = 1 }]"),
        below("worthless", "Worth nothing where something is asked.", with(&stamp(0), &letter("1"))),
        below("beats-used", "Beside a used stamp the underpaid one speaks.", both(&token("header"), &stamp(0)))
            .after("first-class/paid_header.eml", NOW.plus(-DAY)),
    ]
}

fn vendors() -> Vec<Case> {
    let foreign = |kid: &str| with(&issue_as("other.example", kid, OTHER_VENDOR, &stamp("foreign")), &letter("1"));
    let ours = || with(&token("ours"), &letter("1"));
    let newer = with(&issue_as("stamps.example", "2027q1", NEW_KEY, &stamp("newer")), &letter("1"));
    let listed = pinned_keys("stamps.example", &[("2027q1", NEW_KEY, "")], "");
    vec![
        case(Reason::UnknownVendor, "foreign", "A vendor whom the user has not named.", foreign("a")),
        case(
            Reason::UnknownVendor,
            "only-listed",
            "A vendor whom another one lists is trusted by that no more.",
            foreign("a"),
        )
        .vendor(
            "directory.json",
            directory(NOW.plus(DAY), &pinned_keys("other.example", &[("a", OTHER_VENDOR, "")], "")),
        ),
        case(Reason::UnknownKey, "newer", "The vendor is trusted; this key is not known.", newer.clone()),
        case(Reason::UnknownKey, "trusted-by-name", "The user named the vendor and pinned no key.", foreign("a"))
            .vendor("other.example.json", pinned("other.example", &[], "")),
        case(Reason::KeyConflict, "two-documents", "Two documents give different keys under one name.", ours())
            .vendor("friend.json", pinned_keys("stamps.example", &[("2026q4", NEW_KEY, "")], "")),
        case(Reason::KeyConflict, "directory", "The signed directory says otherwise than the pinned document.", ours())
            .vendor(
                "directory.json",
                directory(NOW.plus(DAY), &pinned_keys("stamps.example", &[("2026q4", NEW_KEY, "")], "")),
            ),
        case(Reason::UnknownVendor, "address", "A correspondent's address, of which no key is known.", {
            with(&sign(r#"{"jti":"1"}"#, r#"{"iss":"bob@y.example","kid":"1"}"#), &letter("1"))
        }),
        case(Reason::StaleDirectory, "one-second", "The only document with this key is a second past its date.", newer)
            .vendor("directory.json", directory(NOW.plus(-1), &listed)),
    ]
}

fn versions() -> Vec<Case> {
    let unknown = |detail, shows, token: &str| case(Reason::UnknownVersion, detail, shows, with(token, &letter("1")));
    let body = "A".repeat(200);
    vec![
        unknown("later", "A stamp of a later version.", &format!("v5.public.{body}.e30")),
        unknown("other-kind", "A stamp that only its recipient's key could open.", &format!("v4.local.{body}")),
        unknown(
            "critical-before-others",
            "An unknown critical claim is seen before the faults of other claims.",
            &sign(r#"{"jti":"","aud":"alice","val":-1,"crit":["colour"]}"#, FOOTER),
        ),
        unknown("three-digits", "A version of three digits.", &format!("v999.local.{body}.e30")),
        unknown(
            "critical-claim",
            "The vendor marks a claim as critical that is not known here.",
            &sign(
                &format!(r#"{{"jti":"1","aud":"alice@x.example","exp":"{END}","colour":"red","crit":["colour"]}}"#),
                FOOTER,
            ),
        ),
    ]
}

fn limits() -> Vec<Case> {
    let over = |detail, shows, message: String| case(Reason::OverLimit, detail, shows, message);
    let good = String::from_utf8(with(&token("limit"), &letter("1"))).unwrap();
    let nine: String = (0..9).map(|n| format!("Digital-Stamp: v6.public.number-{n}\n")).collect();
    vec![
        over("stamp-too-long", "A stamp of more than 8 KiB.", {
            format!("Digital-Stamp: v4.public.{}\n{}", "A".repeat(8 * 1024), letter("1"))
        }),
        over(
            "message-too-large",
            "The message is larger than the user has looked at; the stamp on it is not spent.",
            good + &"And so on.\n".repeat(100),
        )
        .config("addresses = [\"alice@x.example\"]\nmax_message_size = 1024"),
        over("too-many-parts", "More parts than are looked at.", {
            let kind = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n";
            format!("{}\n{}--b--\n", header("1", kind), "--b\nContent-Type: image/png\n\nx\n".repeat(1100))
        }),
        over("markers-too-far-apart", "16385 bytes between the markers.", {
            letter("1").replace("Dear Alice,", &far_apart(&token("limit"), 16_385))
        }),
        over("one-character", "A token of 8193 characters, of a version that is not known besides.", {
            format!("Digital-Stamp: v5.public.{}\n{}", "A".repeat(8183), letter("1"))
        }),
        over("unfinished-armour", "A block in the text whose end is too far away.", {
            let block = mailstamp::stamp::armor::armour(&"A".repeat(20_000), "\n");
            format!("{}\n{block}", header("1", ""))
        }),
        case(
            Reason::UnknownVersion,
            "nine",
            "Of nine stamps that are not known eight are looked at; what was found speaks.",
            nine + &letter("1"),
        ),
        over("nested-too-deep", "Parts within parts, deeper than is looked at.", {
            let kind = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
            let nested: String = (1..40).map(kind).collect();
            format!("{}{}{nested}\ntext\n", header("1", "MIME-Version: 1.0\n"), kind(0))
        }),
    ]
}
