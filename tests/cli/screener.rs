//! The screener: digests of held mail, and the answers to them. The words themselves have unit tests; the blocks of
//! `mailstamp setup --screener` are in `tests/programs/setup.rs`. (Threats 10, 24, 26, 54.)

use crate::support::programs::{ids, maildir, recipe, stand_in};
use crate::support::{ALICE, Home, Run, letter, run, traced_with};
use std::fs;
use std::process::Command;

/// A home that holds strangers, with the usual rules, and a sendmail that keeps what it is given.
fn screened() -> Home {
    let home = Home::new();
    let sendmail = home.file("sendmail");
    let hold = "[actions]\nunstamped = \"hold\"\ninvalid = \"hold\"\n";
    home.configure(&format!("addresses = [\"{ALICE}\"]\n{hold}[replies]\nsendmail = {sendmail:?}\n"));
    fs::write(home.config().with_file_name("rules.toml"), recipe("rules.toml", &[])).unwrap();
    let path = home.path().display();
    stand_in(&sendmail, &format!("#!/bin/sh\necho \"$*\" >> {path}/arguments\ncat > {path}/digest\n"));
    home
}

fn held(home: &Home) -> Vec<String> {
    ids(&home.state().join("held"))
}

/// Sends the digest, and returns it; empty if none was sent.
fn digest(home: &Home) -> String {
    let _ = fs::remove_file(home.file("digest"));
    home.run(["held", "digest"], b"").exits(0);
    fs::read_to_string(home.file("digest")).unwrap_or_default()
}

/// The Subjects of the answers in a digest, each a pair of `allow` and `never`.
fn answers(digest: &str) -> Vec<[String; 2]> {
    // Long lines are quoted-printable.
    let text = digest.replace("=\n", "").replace("=3D", "=");
    let links = text.lines().filter_map(|line| line.trim().strip_prefix("mailto:alice@x.example?subject="));
    let subjects: Vec<String> = links.map(|subject| subject.replace("%20", " ")).collect();
    subjects.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect()
}

fn answer(home: &Home, subject: &str) -> Run {
    home.run(["held", "answer"], format!("From: eve@evil.example\nSubject: {subject}\n\n").as_bytes())
}

fn from(sender: &str, id: &str) -> Vec<u8> {
    String::from_utf8(letter(id)).unwrap().replace("bob@y.example", sender).into_bytes()
}

#[test]
fn each_held_message_is_in_one_digest() {
    let home = screened();
    assert_eq!(digest(&home), "");
    assert_eq!(home.run(["held", "digest", "--print"], b"").exits(0).text(), "");
    for id in ["1", "2"] {
        home.run(["deliver"], &letter(id)).exits(0);
    }
    let printed = home.run(["held", "digest", "--print"], b"").exits(0).text();
    assert!(printed.contains("Subject: Held mail: 2 new messages\n"), "{printed}");
    let sent = digest(&home);
    for line in ["From: alice@x.example", "To: alice@x.example", "Auto-Submitted: auto-generated"] {
        assert!(sent.lines().any(|shown| shown == line), "{line}:\n{sent}");
    }
    assert_eq!(answers(&sent).len(), 2, "{sent}");
    assert_eq!(fs::read_to_string(home.file("arguments")).unwrap(), "-i -f <> -- alice@x.example\n");
    assert_eq!(digest(&home), "");
    home.run(["deliver"], &letter("3")).exits(0);
    assert_eq!(answers(&digest(&home)).len(), 1);
    // To the user's own address alone.
    home.run(["deliver"], &letter("4")).exits(0);
    home.run(["held", "digest", "--to", "eve@evil.example"], b"").exits(65);
    // A mail system that takes nothing: the message comes in the next digest.
    let sendmail = fs::read_to_string(home.file("sendmail")).unwrap();
    stand_in(&home.file("sendmail"), "#!/bin/sh\nexit 75\n");
    home.run(["held", "digest"], b"").exits(75);
    stand_in(&home.file("sendmail"), &sendmail);
    assert_eq!(answers(&digest(&home)).len(), 1);
    // More than 50 come in two digests.
    for n in 0..53 {
        home.run(["held", "add"], &letter(&format!("n{n}"))).exits(0);
    }
    let first = digest(&home);
    assert!(first.contains("Held mail: 53 new messages"), "{first}");
    assert_eq!((answers(&first).len(), answers(&digest(&home)).len()), (50, 3));
}

/// Makes all held messages and all digests older, by seconds.
fn age(home: &Home, seconds: i64) {
    let folder = home.state().join("held/new");
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let (time, rest) = name.split_once('.').unwrap();
        let older = time.parse::<i64>().unwrap() - seconds;
        fs::rename(folder.join(&name), folder.join(format!("{older}.{rest}"))).unwrap();
    }
    let listed = home.state().join("digest.listed");
    let Ok(text) = fs::read_to_string(&listed) else { return };
    let older = |line: &str| {
        let (name, at) = line.split_once(' ').unwrap();
        format!("{name} {}\n", at.parse::<i64>().unwrap() - seconds)
    };
    fs::write(listed, text.lines().map(older).collect::<String>()).unwrap();
}

#[test]
fn what_no_digest_has_listed_does_not_expire() {
    let home = screened();
    let day = 86_400;
    let hold = |id: &str, sender: &str| home.run(["deliver"], &from(sender, id)).exits(0);
    let expired = || home.run(["held", "expire"], b"").exits(0).text().lines().count();
    let found = || home.run(["doctor"], b"").text();
    // Without digests, the time alone counts.
    hold("1", "bob@y.example");
    age(&home, 31 * day);
    assert_eq!(expired(), 1);
    for n in 0..51 {
        hold(&format!("n{n}"), "bob@y.example");
    }
    assert_eq!(answers(&digest(&home)).len(), 50);
    hold("refused", "eve@evil.example");
    let list: serde_json::Value =
        serde_json::from_str(&home.run(["held", "list", "--json"], b"").exits(0).text()).unwrap();
    let refused = list["messages"].as_array().unwrap().iter().find(|it| it["from"] == "eve@evil.example").unwrap();
    home.run(["held", "never", refused["id"].as_str().unwrap()], b"").exits(0);
    hold("again", "eve@evil.example");
    assert!(!found().contains("without a digest"));
    age(&home, 31 * day);
    assert!(
        found().contains("held longer than three days without a digest: 1 message, the oldest since"),
        "{}",
        found()
    );
    // 50 were listed, and one sender was refused; one waits for its digest, and then for the end of its links.
    assert_eq!((expired(), held(&home).len()), (51, 1));
    assert_eq!(answers(&digest(&home)).len(), 1);
    assert_eq!(expired(), 0);
    age(&home, 15 * day);
    assert_eq!((expired(), held(&home).len()), (1, 0));
    // A digest that cannot be sent is an error.
    assert!(!found().contains("no digest is sent"));
    fs::remove_file(home.file("sendmail")).unwrap();
    assert!(found().contains("cannot be run, so no digest is sent; set replies.sendmail"));
}

#[test]
fn the_digest_comes_through_the_screener_itself() {
    let home = screened();
    home.run(["deliver"], &letter("1")).exits(0);
    let sent = digest(&home);
    home.run(["classify"], sent.as_bytes()).exits(10).says("allowed rule");
    // A stranger who writes one does not know the Message-ID that it refers to.
    let (before, after) = sent.split_once("References: <").unwrap();
    let forged = format!("{before}References: <0{after}");
    home.run(["classify"], forged.as_bytes()).exits(11);
    // Without the rule it would be held, and doctor says so.
    let warns = || home.run(["doctor"], b"").text().contains("digests are held, too");
    assert!(!warns());
    fs::write(home.config().with_file_name("rules.toml"), "").unwrap();
    assert!(warns());
    // A rule for correspondents is not enough, and setup says the same.
    let rule = "[[rule]]\nname = \"known\"\naction = \"allow\"\ncorrespondent = true\n#reply_to_mine = true\n";
    fs::write(home.config().with_file_name("rules.toml"), rule).unwrap();
    assert!(warns());
    fs::create_dir_all(home.file("Maildir/new")).unwrap();
    let said = home.run(["setup", "--screener"], b"").exits(0).text();
    assert!(said.contains("rules.toml: the digest is held, too"), "{said}");
    let passes = rule.replace("correspondent = true\n#", "");
    fs::write(home.config().with_file_name("rules.toml"), passes).unwrap();
    assert!(!warns());
    let said = home.run(["setup", "--screener"], b"").exits(0).text();
    assert!(!said.contains("the digest is held, too"), "{said}");
}

#[test]
fn allow_lets_the_sender_through_and_never_lists_them_no_more() {
    let home = screened();
    home.run(["deliver"], &from("bob@y.example", "1")).exits(0);
    home.run(["deliver"], &from("eve@far.example", "2")).exits(0);
    let [bob, eve] = &answers(&digest(&home))[..] else { panic!("two answers") };
    answer(&home, &bob[0]).exits(0);
    assert_eq!((ids(&home.file("Maildir")), held(&home)), (vec!["1".to_owned()], vec!["2".to_owned()]));
    home.run(["deliver"], &from("bob@y.example", "3")).exits(0);
    assert_eq!(ids(&home.file("Maildir")), ["1", "3"]);
    // By deliver itself, as it takes the answer in place of mail.
    home.run(["deliver"], format!("Subject: {}\n\n", eve[1]).as_bytes()).exits(0);
    assert_eq!((ids(&home.file("Maildir")), held(&home)), (vec!["1".into(), "3".into()], vec![]));
    // Eve's mail is still held, and not listed.
    home.run(["deliver"], &from("eve@far.example", "4")).exits(0);
    assert_eq!(held(&home), ["4"]);
    assert_eq!(digest(&home), "");
    // Each word works once, and for its own answer.
    for subject in [&bob[0], &bob[1], &eve[0], &eve[1]] {
        let said = answer(&home, subject).exits(66).stderr;
        assert!(said.contains("no held message is called"), "{said}");
    }
    let log = home.run(["log", "--json"], b"").exits(0).text();
    assert!(log.contains("\"event\":\"allowed\"") && log.contains("\"event\":\"refused\""), "{log}");
    // The same by command.
    home.run(["deliver"], &from("mal@far.example", "5")).exits(0);
    let list = home.run(["held", "list"], b"").exits(0).text();
    let id = list.lines().find(|line| line.contains("mal@")).unwrap().split(' ').next().unwrap().to_owned();
    let said = home.run(["held", "never", &id], b"").exits(0).text();
    assert!(said.ends_with(": deleted; digests leave out mal@far.example from now on\n"), "{said}");
    assert_eq!(fs::read_to_string(home.state().join("never.list")).unwrap(), "eve@far.example\nmal@far.example\n");
}

#[test]
fn only_a_valid_word_in_the_subject_answers() {
    let home = screened();
    let no_key = answer(&home, "allow jaqxtm5i-aaaaaaaaaaaaaaaaaaaaaaaa").exits(65).stderr;
    assert!(no_key.contains("no answer to held mail"), "{no_key}");
    home.run(["deliver"], &letter("1")).exits(0);
    let sent = digest(&home);
    let [allow, never] = &answers(&sent)[0];
    let word = allow.split(' ').nth(1).unwrap();
    let last = if word.ends_with('a') { "b" } else { "a" };
    let changed = format!("{}{last}", &word[..word.len() - 1]);
    for subject in [
        format!("never {word}"),
        format!("allow {changed}"),
        format!("Re: {allow}"),
        format!("{allow} {never}"),
        format!("allow\nSubject: {allow}"),
        "allow -".to_owned(),
    ] {
        answer(&home, &subject).exits(65);
    }
    // The digest, forwarded, answered as a whole, or as it is.
    let quoted: String = sent.lines().map(|line| format!("> {line}\n")).collect();
    for whole in [sent.clone(), format!("Subject: Re: Held mail\n\n{quoted}"), format!("Subject: fwd\n\n{sent}")] {
        home.run(["held", "answer"], whole.as_bytes()).exits(65);
    }
    assert_eq!(held(&home), ["1"]);
    // As ordinary mail it goes its way.
    home.run(["deliver"], format!("Message-ID: <2@x>\nSubject: allow {changed}\n\n").as_bytes()).exits(0);
    assert_eq!(held(&home), ["1", "2"]);
    // Without the key no word is valid; a key that others can read is refused.
    let key = home.state().join("held.key");
    crate::support::programs::chmod(&key, 0o644);
    let said = answer(&home, allow).exits(75).stderr;
    assert!(said.contains("held.key: mode 0644, expected 0600"), "{said}");
    fs::remove_file(&key).unwrap();
    answer(&home, allow).exits(65);
    assert_eq!(held(&home), ["1", "2"]);
}

#[test]
fn what_strangers_wrote_cannot_do_harm_in_a_digest() {
    let home = screened();
    let subject = "=?utf-8?q?pay_=E2=80=AEhttp=3A//evil.example/_=1B[31m=0D=0ABcc:_x@y.example?=";
    let mail =
        format!("From: \"http://evil.example\" <eve@far.example>\nTo: {ALICE}\nSubject: {subject}\n\n<b>x</b>\n");
    home.run(["deliver"], mail.as_bytes()).exits(0);
    let sent = digest(&home);
    let shown = "   Subject: pay http: / / evil. example/ [31mBcc: x@ y. example";
    assert!(sent.lines().any(|line| line == shown), "{sent}");
    assert!(sent.contains("1. From: eve@far.example\n") && !sent.contains("http://"), "{sent}");
    assert!(!sent.lines().any(|line| line.starts_with("Bcc")), "{sent}");
    assert!(sent.bytes().all(|b| matches!(b, b'\n' | b' '..=b'~')), "{sent}");
}

#[test]
fn of_answers_at_once_one_is_carried_out() {
    let home = screened();
    home.run(["deliver"], &letter("1")).exits(0);
    let [allow, _] = &answers(&digest(&home))[0];
    let message = format!("Subject: {allow}\n\n");
    let mut codes: Vec<i32> = std::thread::scope(|scope| {
        let runs: Vec<_> =
            (0..6).map(|_| scope.spawn(|| home.run(["held", "answer"], message.as_bytes()).code)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    codes.sort_unstable();
    assert_eq!(codes, [0, 66, 66, 66, 66, 66]);
    assert_eq!(maildir(&home.file("Maildir")).len(), 1);
}

#[test]
fn an_answer_that_is_killed_loses_no_message() {
    let calls = "linkat,unlinkat,fsync,write";
    for n in (1..=24).step_by(3) {
        let home = screened();
        home.run(["deliver"], &letter("1")).exits(0);
        let [allow, _] = &answers(&digest(&home))[0];
        let message = format!("Subject: {allow}\n\n");
        let mut command = home.command();
        let inject = format!("inject={calls}:signal=KILL:when={n}");
        let options = ["-e", &format!("trace={calls}"), "-e", &inject];
        traced_with(command.args(["held", "answer"]), &options, message.as_bytes());
        let has = |ids: &[String]| ids.contains(&"1".to_owned());
        assert!(has(&held(&home)) || has(&ids(&home.file("Maildir"))), "{n}");
        // Tried again, it is carried out, unless it was before.
        let code = answer(&home, allow).code;
        assert!([0, 66].contains(&code), "{n}: {code}");
        assert!(has(&ids(&home.file("Maildir"))) && !has(&held(&home)), "{n}");
    }
}

#[test]
fn an_answer_that_cannot_be_carried_out_waits() {
    let home = screened();
    home.run(["deliver"], &letter("1")).exits(0);
    let [allow, _] = &answers(&digest(&home))[0];
    fs::remove_dir_all(home.file("Maildir")).unwrap();
    fs::write(home.file("Maildir"), "no folder").unwrap();
    answer(&home, allow).exits(75);
    assert_eq!(held(&home), ["1"]);
    fs::remove_file(home.file("Maildir")).unwrap();
    let line = format!("printf 'Subject: {allow}\\n\\n' | {} held answer --maildir other", crate::support::MAILSTAMP);
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).env_clear().env("HOME", home.path()).current_dir(home.path());
    run(&mut shell, b"").exits(0);
    assert_eq!(ids(&home.file("other")), ["1"]);
}
