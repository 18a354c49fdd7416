//! Fields as hosts write them, and as senders would forge them.

use super::*;
use proptest::prelude::*;

const TRUSTED: &str = "mx.x.example";

fn read(header: &str) -> Vec<Outcome> {
    outcomes(&Message::parse(header.as_bytes()), &[TRUSTED.to_owned()])
}

/// Returns the outcomes of one field in a short form.
fn one(value: &str) -> Vec<String> {
    let short = |outcome: &Outcome| {
        let properties = outcome.properties.iter().map(|(name, value)| format!(" {name}={value}"));
        format!("{}={}{}", outcome.method, outcome.result, properties.collect::<String>())
    };
    read(&format!("Authentication-Results: {value}\n\n")).iter().map(short).collect()
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 8601, appendix B.
    assert_eq!(one("mx.x.example 1; none"), Vec::<String>::new());
    assert_eq!(one("mx.x.example;\r\n\tspf=pass smtp.mailfrom=example.net"), ["spf=pass smtp.mailfrom=example.net"]);
    assert_eq!(
        one("mx.x.example;\n auth=pass (cram-md5) smtp.auth=sender@example.net;\n spf=pass smtp.mailfrom=example.net"),
        ["auth=pass smtp.auth=sender@example.net", "spf=pass smtp.mailfrom=example.net"]
    );
    assert_eq!(
        one(
            "mx.x.example; dkim=pass reason=\"good signature\" header.i=@mail-router.example.net; dkim=fail reason=\"bad signature\" header.i=@newyork.example.com"
        ),
        ["dkim=pass header.i=@mail-router.example.net", "dkim=fail header.i=@newyork.example.com"]
    );
    // Its last example: comments everywhere.
    assert_eq!(
        one(
            "mx.x.example (foobar) 1 (baz);\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\n policy (A dot can go here) . (like that) expired\n (this surprised me) = (as I wasn't expecting it) 1362471462"
        ),
        ["dkim=fail policy.expired=1362471462"]
    );
}

#[test]
fn what_others_write_is_read() {
    // Values that are no tokens, a parameter without a type, and an extra semicolon.
    assert_eq!(
        one(
            "mx.x.example; spf=pass smtp.mailfrom=SRS0=a/b=c=d.example=bob@f.example; dmarc=pass action=none header.from=y.example;"
        ),
        ["spf=pass smtp.mailfrom=SRS0=a/b=c=d.example=bob@f.example", "dmarc=pass header.from=y.example"]
    );
    assert_eq!(one("MX.X.Example.;DKIM=Pass Header.D=\"y.example\""), ["dkim=pass header.d=y.example"]);
    assert_eq!(
        one("mx.x.example; spf=pass smtp.mailfrom=\"a b; c\"@y.example"),
        ["spf=pass smtp.mailfrom=a b; c@y.example"]
    );
    assert_eq!(
        one("mx.x.example; dkim=pass header.b=a/b+c== header.d=y.example"),
        ["dkim=pass header.b=a/b+c== header.d=y.example"]
    );
}

// Threat 9.
#[test]
fn in_doubt_a_field_says_nothing() {
    for value in [
        "other.example; dkim=pass",
        "mx.x.example.org; dkim=pass",
        "in.mx.x.example; dkim=pass",
        "=?utf-8?q?mx=2Ex=2Eexample?=; dkim=pass",
        "mx.x.example 2; dkim=pass",
        "mx.x.example, dkim=pass",
        "mx.x.example dkim=pass",
        "mx.x.example/1; dkim=pass",
        "(mx.x.example; dkim=pass",
        "(a comment) mx.x.example; dkim=pass",
        "\"mx.x.example\"; dkim=pass",
        "mx.x.\rexample; dkim=pass",
        "other.example (; mx.x.example; dkim=pass",
        "mx.x.example; dkim/2=pass",
        "mx.x.example; dkim=pass header.d=\"y.example",
        "mx.x.example; dkim=pass (open header.d=y.example",
        "mx.x.example; dkim=pass header.d=",
        "mx.x.example; dkim=pass header.d",
        "mx.x.example; dkim=pass header=d.e) f=g",
        "mx.x.example; dkim",
        "mx.x.example; =pass",
        "mx.x.example; dkim=pass!",
        "mx.x.example; spf=pass smtp.mailfrom=a\0b",
        "",
        ";",
        "dkim=pass",
    ] {
        assert_eq!(one(value), Vec::<String>::new(), "{value:?}");
    }
    assert_eq!(read("X-Authentication-Results: mx.x.example; dkim=pass\n\n"), []);
    assert_eq!(read("Subject: a\rAuthentication-Results: mx.x.example; dkim=pass\n\n"), []);
    assert_eq!(read("Authentication-Results : mx.x.example; dkim=pass\n\n"), []);
    let raw = b"Authentication-Results: mx.x.example; dkim=pass header.d=\xff\n\n";
    assert_eq!(outcomes(&Message::parse(raw), &[TRUSTED.to_owned()]), []);
    assert_eq!(outcomes(&Message::parse(b"Authentication-Results: ; dkim=pass\n\n"), &[]), []);
    let long = format!("mx.x.example; dkim=pass ({})", "x".repeat(FIELD));
    assert_eq!(one(&long), Vec::<String>::new());
    assert_eq!(one(&format!("mx.x.example; dkim=pass {}{}", "(".repeat(51), ")".repeat(51))), Vec::<String>::new());
    assert_eq!(one(&format!("mx.x.example{}", "; a=b".repeat(5_000))).len(), OUTCOMES);
}

#[test]
fn only_what_the_boundary_put_there_counts() {
    let field = |result: &str| format!("Authentication-Results: mx.x.example; spf={result}\n");
    let results = |header: String| read(&(header + "\n")).into_iter().map(|outcome| outcome.result).collect::<Vec<_>>();
    // The inner hop's Received fields stand above the boundary's fields, the stranger's below.
    let header = format!(
        "Received: by inner\nReceived: by mx\n{}X: y\n{}Received: by stranger\n{}",
        field("fail"),
        field("none"),
        field("pass")
    );
    assert_eq!(results(header), ["fail", "none"]);
    // An unreadable field spoils the others, since it may be the one with the unfavourable result.
    assert!(results(format!("{}Authentication-Results: mx.x.example; a=b c\n", field("pass"))).is_empty());
    let latin = [field("pass").as_bytes(), b"Authentication-Results: mx.x.example; dmarc=fail (b\xf6b)\n\n"].concat();
    assert_eq!(outcomes(&Message::parse(&latin), &[TRUSTED.to_owned()]), []);
    // The field of another host does not mark the boundary.
    let header = format!("Authentication-Results: other.example; none\nReceived: by mx\n{}", field("fail"));
    assert_eq!(results(header), ["fail"]);
}

#[test]
fn results_of_mailstamp_neither_count_nor_end_the_zone() {
    let ours = "Authentication-Results: mx.x.example; x-digital-stamp=pass reason=\"paid\"\n";
    let boundary = "Authentication-Results: mx.x.example; dmarc=fail\nReceived: by mx\n";
    for header in [
        format!("{ours}{boundary}\n"),
        format!("{ours}Received: by inner\n{boundary}\n"),
        format!("Received: by inner\n{ours}Received: by mx\n{ours}{boundary}\n"),
    ] {
        assert_eq!(read(&header).len(), 1, "{header}");
    }
    // A sender cannot have it passed over by writing our method into an unreadable field.
    let header = format!("Authentication-Results: mx.x.example; x-digital-stamp=pass; a b\n{boundary}\n");
    assert_eq!(read(&header), []);
}

#[test]
fn fields_without_an_id_count_when_that_is_trusted() {
    // As Microsoft 365 writes them, below its own Received field.
    let value = "spf=pass (sender IP is 192.0.2.1)\r\n smtp.mailfrom=y.example; dkim=pass (signature was verified)\r\n \
        header.d=y.example;dmarc=pass action=none\r\n header.from=y.example;compauth=pass reason=100";
    let forged = "Authentication-Results: dmarc=fail header.from=y.example\r\n";
    let raw = format!("Received: by mx\r\nAuthentication-Results: {value}\r\nReceived: by y\r\n{forged}\r\n");
    let message = Message::parse(raw.as_bytes());
    let methods = |trusted: &str| {
        let found = outcomes(&message, &[trusted.to_owned()]).into_iter();
        found.map(|outcome| format!("{}={}", outcome.method, outcome.result)).collect::<Vec<_>>()
    };
    assert_eq!(methods(NO_ID), ["spf=pass", "dkim=pass", "dmarc=pass", "compauth=pass"]);
    for other in ["", "spf", "mx.x.example", "spf=pass"] {
        assert_eq!(methods(other), [""; 0], "{other}");
    }
    for value in [
        "-; dkim=pass",
        "- 1; dkim=pass",
        "; dkim=pass",
        ", dkim=pass",
        "(dkim=pass",
        "mx.x.example; dkim=pass",
        "none",
    ] {
        let raw = format!("Authentication-Results: {value}\n\n");
        assert_eq!(outcomes(&Message::parse(raw.as_bytes()), &[NO_ID.to_owned()]), [], "{value}");
    }
}

#[test]
fn the_from_domain_is_genuine_when_something_says_so_of_it() {
    let says = |results: &str, from: &str| {
        let raw = format!("Authentication-Results: mx.x.example; {results}\nFrom: {from}\n\n");
        is_authenticated(&Message::parse(raw.as_bytes()), &read(&raw))
    };
    let bob = "Bob <bob@mail.y.example>";
    for good in [
        "dmarc=pass header.from=mail.y.example",
        "dmarc=pass header.from=Mail.Y.Example.",
        "dkim=pass header.d=mail.y.example",
        "dkim=pass header.d=y.example",
        "dkim=pass header.i=@y.example",
        "dkim=pass header.i=news@mail.y.example",
        "spf=pass smtp.mailfrom=mail.y.example",
        "spf=pass smtp.mailfrom=bounce@y.example",
        "dkim=fail header.d=mail.y.example; dkim=pass header.d=y.example",
        "dkim=pass header.d=y.example; dmarc=none header.from=mail.y.example",
    ] {
        assert!(says(good, bob), "{good}");
    }
    for bad in [
        "none",
        "dmarc=pass",
        "dmarc=pass header.from=y.example",
        "dmarc=bestguesspass header.from=mail.y.example",
        "dmarc=fail header.from=mail.y.example",
        "dmarc=fail header.from=mail.y.example; dkim=pass header.d=mail.y.example",
        // Twice: the sender wrote one of them into a comment, and closed the comment.
        "dmarc=pass header.from=mail.y.example; dmarc=fail header.from=mail.y.example",
        "dmarc=pass header.from=evil.example; dmarc=pass header.from=mail.y.example",
        "dmarc=pass header.from=evil.example; dkim=pass header.d=mail.y.example",
        "dkim=pass",
        "dkim=pass header.d=example",
        "dkim=pass header.d=l.y.example",
        "dkim=pass header.d=in.mail.y.example",
        "dkim=pass header.d=other.example",
        "dkim=pass header.s=mail.y.example",
        "dkim=neutral header.d=mail.y.example",
        "spf=softfail smtp.mailfrom=mail.y.example",
        "spf=pass smtp.helo=mail.y.example",
        "arc=pass header.d=mail.y.example",
    ] {
        assert!(!says(bad, bob), "{bad}");
    }
    let good = "dkim=pass header.d=y.example; dkim=pass header.d=z.example";
    assert!(says(good, "a@y.example, b@z.example"));
    assert!(!says(good, "a@y.example, b@w.example"));
    assert!(!says(good, "a@y.example\nFrom: b@z.example"));
    assert!(!says(good, "nobody"));
    // An entry that is no address, and in which other programs may read one.
    for unclear in ["a@y.example, <broken", "a@y.example, eve@w.example x", "<eve@w_.example@>, a@y.example"] {
        assert!(!says(good, unclear), "{unclear}");
    }
    assert!(!says(good, &format!("{}eve@w.example", "a@y.example, ".repeat(100))));
    // Many programs end a line at a lone CR, and read another author there.
    for hidden in ["eve@w.example\r.y.example", "a@y.example (\rFrom: eve@w.example)", "a@y.example\rX: y"] {
        assert!(!says(good, hidden), "{hidden:?}");
    }
    for other in ["Subject: x\rFrom: eve@w.example", "Subject: x\rfrom : eve@w.example", "From\0: eve@w.example"] {
        assert!(!says(good, &format!("a@y.example\n{other}")), "{other:?}");
    }
    assert!(says(good, "a@y.example\nSubject: x\ry: z"));
    assert!(says(good, "Doe, Joe <a@y.example>"));
    assert!(says(good, "Joe <@z.example:a @ y.example>"));
    // Threat 25: an internationalised domain is compared by its A-labels.
    assert!(says("dkim=pass header.d=xn--bcher-kva.example", "a@b\u{fc}cher.example"));
    assert!(says("dkim=pass header.d=b\u{fc}cher.example", "a@xn--bcher-kva.example"));
}

#[test]
fn single_outcomes_are_asked_for() {
    let raw = "Authentication-Results: mx.x.example; dkim=pass header.d=evil.example; dkim=fail header.d=y.example; \
        iprev=pass; dmarc=fail header.from=y.example\nFrom: a@y.example\n\n";
    let (message, outcomes) = (Message::parse(raw.as_bytes()), read(raw));
    for (method, result, shown) in [
        ("dkim", "pass", false),
        ("dkim", "fail", true),
        ("dmarc", "fail", true),
        ("iprev", "pass", true),
        ("spf", "pass", false),
    ] {
        assert_eq!(has_result(&message, &outcomes, method, result), shown, "{method}={result}");
    }
}

proptest! {
    #[test]
    fn any_field_is_read_and_no_quoting_lets_a_sender_out(text in "[a-z =;.()\"\\\\@/1-2]{0,60}", local in "[ -~]{0,40}") {
        one(&format!("mx.x.example; {text}"));
        let quoted = local.replace('\\', "\\\\").replace('"', "\\\"");
        let outcomes = one(&format!("mx.x.example; spf=fail smtp.mailfrom=\"{quoted}\"@evil.example"));
        prop_assert_eq!(outcomes, [format!("spf=fail smtp.mailfrom={local}@evil.example")]);
    }
}
