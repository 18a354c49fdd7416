//! The hook `rules/notmuch-post-new`, run by notmuch itself.

use crate::support::programs::{install, program, recipe, stand_in};
use crate::support::{ALICE, Home, Run, letter, run};
use std::fs;
use std::process::Command;

#[test]
fn a_message_tagged_as_spam_has_its_stamp_revoked_until_the_tag_is_gone() {
    // BP3f.
    let home = Home::new();
    let bin = install(home.path());
    for part in ["cur", "new", "tmp", ".notmuch/hooks"] {
        fs::create_dir_all(home.file("Mail").join(part)).unwrap();
    }
    let config = format!(
        "[database]\npath={}\n[user]\nprimary_email={ALICE}\n[new]\ntags=unread\n",
        home.file("Mail").display()
    );
    fs::write(home.file("notmuch-config"), config).unwrap();
    let hook = home.file("Mail/.notmuch/hooks/post-new");
    let own = bin.join("mailstamp").display().to_string();
    stand_in(&hook, &recipe("notmuch-post-new", &[("/usr/local/bin/mailstamp", &own)]));
    let notmuch = |args: &[&str]| -> Run {
        let mut command = Command::new(program("notmuch", "notmuch"));
        command.args(args).env_clear().env("HOME", home.path()).env("NOTMUCH_CONFIG", home.file("notmuch-config"));
        run(command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())), b"").exits(0)
    };
    // A list's copy of the same message, which notmuch finds first.
    let [header, text] = ["From: Bob", "the list\n"];
    let copy =
        String::from_utf8(letter("one")).unwrap().replace(header, &format!("List-Id: <l.example>\n{header}")) + text;
    fs::write(home.file("Mail/cur/a-copy:2,"), copy).unwrap();
    for serial in ["one", "two"] {
        let message = home.affix(&home.issue(ALICE, ["--serial", serial]), &letter(serial));
        home.classify(&message).exits(0);
        fs::write(home.file("Mail/cur").join(format!("{serial}:2,")), message).unwrap();
    }
    // This message was never received here.
    let planted = home.affix(&home.issue(ALICE, ["--serial", "two"]), &letter("planted"));
    fs::write(home.file("Mail/cur/planted:2,"), planted).unwrap();
    let state = |serial| home.run(["grants", serial], b"").exits(0).text().split(' ').next().unwrap().to_owned();
    notmuch(&["new"]);
    assert_eq!(notmuch(&["count"]).text().trim(), "3");
    notmuch(&["tag", "+spam", "--", "id:one@y.example", "or", "id:planted@y.example"]);
    notmuch(&["new"]);
    assert_eq!((state("one").as_str(), state("two").trim()), ("revoked", ""));
    notmuch(&["tag", "-spam", "--", "id:one@y.example"]);
    notmuch(&["new"]);
    assert_ne!(state("one"), "revoked");
    assert_eq!(notmuch(&["search", "--output=messages", "tag:stamp-revoked"]).text().trim(), "id:planted@y.example");
}
