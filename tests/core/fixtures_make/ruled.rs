//! Messages that the user's rules let through, and messages that just miss a rule.

use super::case::{Case, case};
use super::stamps::*;
use mailstamp::verdict::reason::Reason;
use sha2::{Digest, Sha256};

pub fn cases() -> Vec<Case> {
    [allowed(), beside()].concat()
}

/// A rule `friends` with these conditions.
fn rule(conditions: &str) -> String {
    format!("[[rule]]\nname = \"friends\"\naction = \"allow\"\n{conditions}")
}

fn trusting(conditions: &str, case: Case) -> Case {
    case.config("addresses = [\"alice@x.example\"]\ntrusted_authserv_ids = [\"mx.x.example\"]").rules(&rule(conditions))
}

/// The row of a message that the user sent.
fn sent(message_id: &str) -> String {
    let hash: String = Sha256::digest(message_id).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{{\"row\":\"sent\",\"message\":\"{hash}\",\"at\":1796000000}}")
}

fn bob_was_written_to() -> String {
    "{\"row\":\"correspondent\",\"address\":\"bob@y.example\",\"first\":1796000000,\"last\":1796000000}".to_owned()
}

fn allowed() -> Vec<Case> {
    let friends = |detail, shows, message: Vec<u8>, conditions: &str| {
        case(Reason::Rule, detail, shows, message).rules(&rule(conditions)).named("friends")
    };
    let more = |more: &str| format!("{}\nDear Alice,\n\nthis is letter 1.\n", header("1", more)).into_bytes();
    let plain = || letter("1").into_bytes();
    vec![
        friends("file-domain", "A domain above the sender's.", plain(), "from_domain = \"example\""),
        friends(
            "file-list",
            "A mailing list.",
            more("List-Id: Talk <talk.lists.example>\n"),
            "list_id = \"*.lists.example\"",
        ),
        friends(
            "file-header",
            "Any field, decoded.",
            more("X-Ticket: =?utf-8?q?=2347?=\n"),
            "header = { \"X-Ticket\" = '^#\\d+$' }",
        ),
        friends(
            "file-text",
            "The text, encoded.",
            format!("{}\naW52b2ljZSA0NzExCg==\n", header("1", "Content-Transfer-Encoding: base64\n")).into_bytes(),
            "body = '(?m)^invoice \\d{4}\\r?$'",
        ),
        friends(
            "file-bad-stamp",
            "The stamp is no good, and a rule is about just that.",
            with("v4.public.bad", &letter("1")),
            "class = \"invalid\"\nreason = \"malformed\"",
        ),
        friends(
            "file-first-of-two",
            "The first rule that matches speaks.",
            plain(),
            "from = \"bob@y.example\"\n\n[[rule]]\nname = \"second\"\naction = \"discard\"\nalways = true",
        ),
        friends(
            "file-exception",
            "An exception of which not all holds.",
            plain(),
            "from = \"bob@y.example\"\nunless = { subject = \"serious\", body = \"pills\" }",
        ),
        friends("correspondent", "A sender to whom the user wrote.", plain(), "correspondent = true")
            .row(bob_was_written_to()),
        friends(
            "reply",
            "An answer to what the user sent.",
            more("References: <theirs@y.example>\n <mine@x.example>\n"),
            "reply_to_mine = true",
        )
        .row(sent("mine@x.example")),
        trusting(
            "authenticated = true",
            case(Reason::Rule, "authenticated", "A trusted host says that the sender is genuine.", {
                [b"Authentication-Results: mx.x.example; dkim=pass header.d=y.example\n".to_vec(), plain()].concat()
            }),
        )
        .named("friends"),
    ]
}

fn beside() -> Vec<Case> {
    let none = |detail, shows, message: Vec<u8>, conditions: &str| {
        case(Reason::NoStamp, detail, shows, message).rules(&rule(conditions))
    };
    let plain = || letter("1").into_bytes();
    let results = |fields: &str| [fields.as_bytes(), letter("1").as_bytes()].concat();
    vec![
        none("rule-other-domain", "A domain that only ends alike.", plain(), "from_domain = \"xample\""),
        none(
            "rule-display-name",
            "A friend's address, in the name.",
            letter("1").replace("Bob <bob@y.example>", "\"carol@z.example\" <bob@y.example>").into_bytes(),
            "from = \"carol@z.example\"",
        ),
        none(
            "rule-exception",
            "An exception of which all holds.",
            plain(),
            "from = \"bob@y.example\"\nunless = { subject = \"serious\" }",
        ),
        none(
            "rule-stranger",
            "The user wrote to another address.",
            letter("1").replace("bob@", "bobby@").into_bytes(),
            "correspondent = true",
        )
        .row(bob_was_written_to()),
        none("rule-holds-only", "A rule that gives another action leaves the class.", plain(), "")
            .rules("[[rule]]\nname = \"wait\"\naction = \"hold\"\nfrom = \"bob@y.example\"")
            .named("wait")
            .action("hold"),
        trusting(
            "authenticated = true",
            case(Reason::NoStamp, "rule-untrusted-host", "A host that is not trusted says so.", {
                results("Authentication-Results: mx.y.example; dkim=pass header.d=y.example\n")
            }),
        ),
        trusting(
            "authenticated = true",
            case(Reason::NoStamp, "rule-other-signer", "Another domain signed, not the sender's.", {
                results("Authentication-Results: mx.x.example; dkim=pass header.d=z.example\n")
            }),
        ),
        trusting(
            "authenticated = true",
            case(Reason::NoStamp, "rule-two-readings", "Its From names another sender where a name should be.", {
                let results = results("Authentication-Results: mx.x.example; dkim=pass header.d=y.example\n");
                String::from_utf8(results).unwrap().replace("From: Bob <", "From: carol@z.example <")
            }),
        ),
        trusting(
            "authenticated = true",
            case(
                Reason::NoStamp,
                "rule-forged-results",
                "The sender wrote the result, below what the boundary wrote.",
                {
                    results(
                        "Authentication-Results: mx.x.example; dkim=none\nReceived: from y.example by mx.x.example; Tue, 01 Dec 2026 11:59:00 +0000\nAuthentication-Results: mx.x.example; dkim=pass header.d=y.example\n",
                    )
                },
            ),
        ),
    ]
}
