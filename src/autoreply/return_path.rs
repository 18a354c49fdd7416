//! Finds the origin of a message: the one address to which a reply may go (RFC 3834 section 4), whether a person reads
//! it, and the address under which its owner is counted.

use super::suppression::SuppressReason;
use crate::message::address::{Address, addresses_up_to};
use crate::message::parse::Message;
use crate::verdict::facts::Mailbox;

/// Longest address of a reply. RFC 5321 section 4.5.3.1.3 allows a path 256 octets, two of them brackets.
const LONGEST: usize = 254;

/// Fields that name an author, and addresses in each, that are looked at: RFC 5322 section 3.6 allows one of each.
const FIELDS: usize = 6;
const ADDRESSES: usize = 20;

/// Local parts, in lower case, that no person reads (RFC 2142, RFC 3834 section 2, and common names of programs).
const ROLES: [&str; 36] = [
    "abuse",
    "noc",
    "security",
    "usenet",
    "news",
    "www",
    "ftp",
    "mailer-daemon",
    "postmaster",
    "hostmaster",
    "listmaster",
    "webmaster",
    "listserv",
    "listproc",
    "majordomo",
    "mailman",
    "sympa",
    "ezmlm",
    "mlmmj",
    "daemon",
    "mailer",
    "nobody",
    "devnull",
    "null",
    "root",
    "cron",
    "uucp",
    "www-data",
    "apache",
    "viewvc",
    "vacation",
    "autoresponder",
    "bounce",
    "bounces",
    "auto-confirm",
    "notifications",
];
/// Tags behind a plus sign under which list software (mlmmj, Sympa, ezmlm) has its programs, and beginnings of them.
const TAGS: [&str; 9] =
    ["owner", "help", "faq", "request", "subscribe", "unsubscribe", "confirm", "errors", "moderate"];
const TAG_BEGINNINGS: [&str; 7] =
    ["bounce", "conf", "subscribe-", "unsubscribe-", "subconf-", "unsubconf-", "moderate-"];
/// Prefixes of the local parts of lists and programs.
const BEGINNINGS: [&str; 5] = ["owner-", "bounce-", "bounces-", "bounce.", "bounces."];
/// Suffixes of the same.
const ENDS: [&str; 14] = [
    "-owner",
    "-request",
    "bounce",
    "bounces",
    "-errors",
    "-return",
    "-relay",
    "-outgoing",
    "-admin",
    "-confirm",
    "-leave",
    "-subscribe",
    "-unsubscribe",
    "-daemon",
];

/// Address of a message's sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Where a reply goes: the unchanged return path, a signature in it (BATV) included.
    pub address: Address,
    /// The address under which replies are counted: without parts that change from message to message.
    pub counted: Address,
    /// The author's address, in the same form, if it is another one: replies are counted under it too.
    pub author: Option<Address>,
}

/// Returns the sender that the envelope names, or else the topmost Return-Path field. If both are there, they must
/// agree, and there may be only one field.
///
/// # Errors
/// Why no reply may go to it.
pub fn sender(message: &Message<'_>, envelope: Option<&str>, mailboxes: &[Mailbox]) -> Result<Sender, SuppressReason> {
    let mut fields = message.fields().filter(|field| field.name_is("Return-Path"));
    let field = fields.next().map(|field| String::from_utf8_lossy(&field.unfolded()).into_owned());
    if fields.next().is_some() {
        return Err(SuppressReason::SeveralReturnPaths);
    }
    let named = [envelope.map(path), field.as_deref().map(path)];
    let mut named = named.into_iter().flatten();
    let first = named.next().ok_or(SuppressReason::NoReturnPath)?;
    let second = named.next();
    if is_null(first) || second.is_some_and(is_null) {
        return Err(SuppressReason::NullSender);
    }
    let address = writable(first)?;
    if let Some(second) = second
        && Address::parse(second).ok().as_ref() != Some(&address)
    {
        return Err(SuppressReason::SeveralReturnPaths);
    }
    let lower = address.local().to_ascii_lowercase();
    if lower.starts_with("srs0") || lower.starts_with("srs1") {
        return Err(SuppressReason::Forwarded);
    }
    let counted = counted(&address)?;
    if mailboxes.iter().any(|mailbox| mailbox.pattern.matches(&address) || mailbox.pattern.matches(&counted)) {
        return Err(SuppressReason::OwnAddress);
    }
    if is_role(&lower) || is_role(&counted.local().to_ascii_lowercase()) || is_from_role(message) {
        return Err(SuppressReason::Role);
    }
    if names_me(&lower, mailboxes) {
        return Err(SuppressReason::Verp);
    }
    // A program may have a return path for each message, and always the same From.
    let author = message.authors().into_iter().next().map(|author| self::counted(&author).unwrap_or(author));
    Ok(Sender { address, author: author.filter(|author| *author != counted), counted })
}

/// Returns whether its author names a role, or an address for answers that no person reads.
fn is_from_role(message: &Message<'_>) -> bool {
    let fields = message.fields().filter(|field| ["From", "Sender", "Reply-To"].iter().any(|name| field.name_is(name)));
    fields.take(FIELDS).any(|field| {
        addresses_up_to(&field.unfolded(), ADDRESSES).iter().any(|it| is_role(&it.local().to_ascii_lowercase()))
    })
}

/// Returns the path without white space and the angle brackets around it (RFC 5321 section 4.1.2).
fn path(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).map_or(text, str::trim)
}

/// Returns whether it is the null sender: RFC 5321 section 4.5.5; some mail systems write a name for it.
fn is_null(path: &str) -> bool {
    let local = path.split('@').next().unwrap_or_default();
    path.is_empty() || path == "<>" || local.eq_ignore_ascii_case("mailer-daemon")
}

/// Returns the address, if it is plain.
fn writable(path: &str) -> Result<Address, SuppressReason> {
    Address::parse(path).ok().filter(is_plain).ok_or(SuppressReason::BadAddress)
}

/// Returns whether an address is plain: ASCII without quotes, its domain a name. It can stand in any header, and no
/// program on its way takes it for an option, a route, a file or a command.
#[must_use]
pub fn is_plain(address: &Address) -> bool {
    let local = address.local();
    let plain = |c: char| c.is_ascii_alphanumeric() || "#$&'*+-/=?^_`{}~.".contains(c);
    let begins = local.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let dots = local.ends_with('.') || local.contains("..");
    let name = address.domain().contains('.') && !address.domain().starts_with('[');
    let short = local.len() + 1 + address.domain().len() <= LONGEST;
    begins && !dots && local.chars().all(plain) && name && short
}

/// Returns the address under which a sender is counted, without parts that change from message to message: the
/// signature of BATV (`prvs=1234abcdef=joe@`, also with the parts swapped), and the tag of `joe+tag@`. The domain
/// stays.
fn counted(address: &Address) -> Result<Address, SuppressReason> {
    let local = address.local();
    let within = match local.split_once('=') {
        Some((method, rest)) if method.eq_ignore_ascii_case("prvs") || method.eq_ignore_ascii_case("btv1") => {
            signed(rest.trim_start_matches('=')).ok_or(SuppressReason::BadAddress)?
        }
        _ => local,
    };
    let base = match within.split_once('+') {
        Some((base, _)) if !base.is_empty() => base,
        _ => within,
    };
    Address::parse(&format!("{}@{}", base.to_ascii_lowercase(), address.domain()))
        .map_err(|_| SuppressReason::BadAddress)
}

/// Returns the signed part of a BATV local part: `tag=local`, `tag==local`, or in the first drafts `local/tag`. A tag
/// has digits and letters only.
fn signed(rest: &str) -> Option<&str> {
    let tag = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let local = match (rest.split_once('='), rest.rsplit_once('/')) {
        (Some((before, local)), _) if tag(before) => local.trim_start_matches('='),
        (_, Some((local, after))) if tag(after) => local,
        _ => return None,
    };
    (!local.is_empty()).then_some(local)
}

fn is_role(local: &str) -> bool {
    let bare: String = local.chars().filter(char::is_ascii_alphanumeric).collect();
    // The parts of a signature, each without its tag.
    let bases = local.split('=').filter_map(|part| part.split('+').next());
    [local].into_iter().chain(bases).any(|name| {
        ROLES.contains(&name)
            || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
            || ENDS.iter().any(|end| name.ends_with(end))
    }) || local.split_once('+').is_some_and(|(_, tag)| {
        TAGS.contains(&tag) || TAG_BEGINNINGS.iter().any(|beginning| tag.starts_with(beginning))
    }) || ["noreply", "donotreply", "dontreply", "autoreply", "unattended"].iter().any(|word| bare.contains(word))
        || ["-return-", "-bounces-", "-bounce-", "-bounces+", "-bounce+", "-owner+"]
            .iter()
            .any(|part| local.contains(part))
}

/// Returns whether the local part encodes one of the user's addresses: `news-alice=x.example`.
fn names_me(local: &str, mailboxes: &[Mailbox]) -> bool {
    // The address stands last. The limit bounds the work, since the sender chooses the number of signs.
    local.rmatch_indices('=').take(3).any(|(at, _)| {
        let (before, domain) = (&local[..at], &local[at + 1..]);
        // The recipient's local part begins after a separator, or at the beginning.
        let starts = before.match_indices(['-', '+', '.', '_', '=']).map(|(at, _)| at + 1).chain([0]);
        domain.contains('.')
            && starts
                .filter_map(|start| Address::parse(&format!("{}@{domain}", &before[start..])).ok())
                .any(|address| mailboxes.iter().any(|mailbox| mailbox.pattern.matches(&address)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::address::Pattern;

    fn mine() -> Vec<Mailbox> {
        vec![Mailbox { pattern: Pattern::parse("alice@x.example").unwrap(), price: 1, owner: None }]
    }

    fn of(envelope: Option<&str>, header: &str) -> Result<(String, String), SuppressReason> {
        let raw = format!("{header}\n\n");
        let sender = sender(&Message::parse(raw.as_bytes()), envelope, &mine())?;
        Ok((sender.address.to_string(), sender.counted.to_string()))
    }

    fn only(envelope: &str) -> Result<(String, String), SuppressReason> {
        of(Some(envelope), "X: y")
    }

    fn pair(address: &str, counted: &str) -> Result<(String, String), SuppressReason> {
        Ok((address.to_owned(), counted.to_owned()))
    }

    #[test]
    fn envelope_and_field_must_agree() {
        let field = "Return-Path: <bob@y.example>";
        assert_eq!(of(None, field), pair("bob@y.example", "bob@y.example"));
        assert_eq!(of(Some("bob@y.example"), "X: y"), pair("bob@y.example", "bob@y.example"));
        assert_eq!(of(Some("Bob@Y.example"), field), pair("Bob@y.example", "bob@y.example"));
        assert_eq!(of(Some("eve@z.example"), field), Err(SuppressReason::SeveralReturnPaths));
        assert_eq!(of(None, &format!("{field}\n{field}")), Err(SuppressReason::SeveralReturnPaths));
        assert_eq!(of(Some("bob@y.example"), &format!("{field}\n{field}")), Err(SuppressReason::SeveralReturnPaths));
        assert_eq!(of(None, "X: y"), Err(SuppressReason::NoReturnPath));
    }

    #[test]
    fn the_null_sender_is_known_in_every_spelling_and_place() {
        for null in ["", "<>", " <> ", "< >", "MAILER-DAEMON", "<mailer-daemon@mx.y.example>"] {
            assert_eq!(only(null), Err(SuppressReason::NullSender), "{null:?}");
            assert_eq!(of(None, &format!("Return-Path: {null}")), Err(SuppressReason::NullSender), "{null:?}");
            assert_eq!(
                of(Some("bob@y.example"), &format!("Return-Path: {null}")),
                Err(SuppressReason::NullSender),
                "{null:?}"
            );
        }
    }

    // Threat 30.
    #[test]
    fn no_address_is_an_option_a_route_a_file_or_a_command() {
        for hostile in [
            "-Ctmp@x.example",
            "-oQ/tmp@x.example",
            "\"-f x\"@y.example",
            "|sh@y.example",
            "/etc/passwd@y.example",
            "bob",
            "\"a b\"@y.example",
            "a%b@y.example",
            "y.example!bob@z.example",
            "<@a.example:bob@y.example>",
            "bob@y.example\nBcc: a",
            "bob@y.example\0",
            "bob@[127.0.0.1]",
            "bob@localhost",
            "bob@-y.example",
            "b\u{f6}b@y.example",
            "bob@y.example, eve@z.example",
            "a..b@y.example",
            "a.@y.example",
            "\"a\nb\"@y.example",
            "bob@y.example>",
            "<bob@y.example",
            ":include:/x@y.example",
        ] {
            assert_eq!(only(hostile), Err(SuppressReason::BadAddress), "{hostile:?}");
        }
        assert_eq!(only(&format!("{}@y.example", "a".repeat(245))), Err(SuppressReason::BadAddress));
        assert!(only(&format!("{}@y.example", "a".repeat(244))).is_ok());
    }

    // RFC 5322 section 4.4.
    #[test]
    fn a_path_in_an_obsolete_form_gets_no_answer() {
        for obsolete in [
            "<bob@y.example> (eve@z.example)",
            "(eve@z.example) <bob@y.example>",
            "<bob(eve)@y.example>",
            "<(eve@z.example)bob@y.example>",
            "Bob <bob@y.example>",
            "<bob@y.example (eve@z.example)>",
            "<bob.\t(eve) b@y.example>",
            "<@a.example,@b.example:bob@y.example>",
            "<bob@y.example> <eve@z.example>",
        ] {
            let field = format!("Return-Path: {obsolete}");
            assert_eq!(of(None, &field), Err(SuppressReason::BadAddress), "{obsolete:?}");
            assert_eq!(of(Some("bob@y.example"), &field), Err(SuppressReason::SeveralReturnPaths), "{obsolete:?}");
        }
    }

    #[test]
    fn who_signs_or_tags_his_address_is_counted_once() {
        assert_eq!(only("prvs=1234abcdef=Joe@y.example"), pair("prvs=1234abcdef=Joe@y.example", "joe@y.example"));
        assert_eq!(only("prvs=joe/1234abcdef@y.example"), pair("prvs=joe/1234abcdef@y.example", "joe@y.example"));
        assert_eq!(only("btv1==123abc==joe@y.example"), pair("btv1==123abc==joe@y.example", "joe@y.example"));
        assert_eq!(only("joe+shop@y.example"), pair("joe+shop@y.example", "joe@y.example"));
        assert_eq!(only("prvs=12=joe+shop@y.example").unwrap().1, "joe@y.example");
        assert_eq!(only("prvs=@y.example"), Err(SuppressReason::BadAddress));
        assert_eq!(only("prvs=12=@y.example"), Err(SuppressReason::BadAddress));
        assert_eq!(only("prvs=1234abcdef=alice@x.example"), Err(SuppressReason::OwnAddress));
        assert_eq!(only("prvs=12=postmaster@y.example"), Err(SuppressReason::Role));
    }

    #[test]
    fn programs_and_posts_are_not_written_to() {
        for role in [
            "postmaster",
            "Postmaster",
            "LISTSERV",
            "owner-linux",
            "linux-owner",
            "linux-request",
            "linux-bounces",
            "bounces+123-ab",
            "bounce-1-2",
            "no-reply",
            "noreply",
            "No_Reply",
            "do-not-reply",
            "github-noreply",
            "noreply-7f3",
            "linux-return-12-joe",
            "root",
            "postmaster+x",
            "msprvs1=17abc=bounces-1",
            "bounces",
            "listbounces",
            "talk-bounces",
            "mailbounce",
            "Abuse",
            "abuse+x",
            "noc",
            "security",
            "news",
            "talk+bounces-help",
            "talk+owner",
            "talk+confsub-1234",
            "talk+unsubscribe",
        ] {
            assert_eq!(only(&format!("{role}@y.example")), Err(SuppressReason::Role), "{role}");
        }
        for person in [
            "bob",
            "abuser",
            "newsom",
            "support",
            "requester",
            "owner",
            "bouncer",
            "replyan",
            "norton",
            "rooter",
            "b-admin.x",
        ] {
            assert!(only(&format!("{person}@y.example")).is_ok(), "{person}");
        }
    }

    #[test]
    fn an_author_that_is_a_program_is_not_written_to_either() {
        let with = |header: &str| of(Some("b-1234-abcd@out.y.example"), header).map(|it| it.1);
        for role in
            ["From: Shop <no-reply@y.example>", "Sender: talk+owner@y.example", "Reply-To: donotreply@y.example"]
        {
            assert_eq!(with(role), Err(SuppressReason::Role), "{role}");
        }
        for person in ["From: \"no-reply@y.example\" <joe@y.example>", "To: no-reply@y.example"] {
            assert!(with(person).is_ok(), "{person}");
        }
    }

    #[test]
    fn an_author_is_counted_beside_the_return_path() {
        let author = |envelope: &str, header: &str| {
            let raw = format!("{header}\n\n");
            let sender = sender(&Message::parse(raw.as_bytes()), Some(envelope), &mine()).unwrap();
            sender.author.map(|author| author.to_string())
        };
        let shop = Some("support@y.example".to_owned());
        assert_eq!(author("support-1@y.example", "From: Support <support+17@y.example>"), shop);
        assert_eq!(author("support+17@y.example", "From: Support@y.example"), None);
        assert_eq!(author("bob@y.example", "X: y"), None);
    }

    #[test]
    fn forwarders_and_mailing_software_are_known_by_what_they_write() {
        assert_eq!(only("SRS0=HHH=TT=z.example=eve@y.example"), Err(SuppressReason::Forwarded));
        assert_eq!(only("srs1+HHH=y.example==HHH=TT=z.example=eve@w.example"), Err(SuppressReason::Forwarded));
        for verp in ["news-alice=x.example", "alice=x.example", "n.17-alice=X.example", "a=b-alice=x.example"] {
            assert_eq!(only(&format!("{verp}@y.example")), Err(SuppressReason::Verp), "{verp}");
        }
        assert!(only("news-bob=x.example@y.example").is_ok());
        assert_eq!(only("ALICE@x.example"), Err(SuppressReason::OwnAddress));
    }
}
