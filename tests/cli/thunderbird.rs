//! The program behind the add-on for Thunderbird, by frames, and the files that Thunderbird looks for.
//! `programs/thunderbird_add_on.rs` has Thunderbird itself.

use crate::support::programs::program;
use crate::support::{Home, MAILSTAMP, Run, letter, run};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

const HOST: [&str; 4] = ["thunderbird", "host", "/home/x/mailstamp.json", "mailstamp@mailstamp.example"];

fn framed(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_ne_bytes()[..], text.as_bytes()].concat()
}

fn request(action: &str, message: &[u8]) -> Vec<u8> {
    framed(&json!({ "action": action, "message": BASE64.encode(message) }).to_string())
}

fn answers(said: &Run) -> Vec<Value> {
    let (mut rest, mut answers) = (&said.stdout[..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (text, behind) = behind.split_at(u32::from_ne_bytes(*length) as usize);
        answers.push(serde_json::from_slice(text).unwrap());
        rest = behind;
    }
    assert!(rest.is_empty());
    answers
}

#[test]
fn the_add_on_shows_revokes_and_grants_and_nothing_is_spent() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    let class =
        |answer: &Value| format!("{} {}", answer["result"]["class"], answer["result"]["reason"]).replace('"', "");
    let ask = |asked: &[Vec<u8>]| -> Vec<Value> {
        let said = answers(&home.run(HOST, &asked.concat()).exits(0));
        assert!(said.iter().all(|answer| answer["status"] == 0 && answer["said"] == ""), "{said:?}");
        said
    };
    let said = ask(&[request("explain", &message), request("explain", &message), request("explain", &letter("2"))]);
    let classes: Vec<String> = said.iter().map(class).collect();
    assert_eq!(classes, ["first-class paid", "first-class paid", "unstamped no-stamp"]);
    assert!(said[0]["result"]["sentence"].as_str().unwrap().split(' ').count() > 3, "{said:?}");
    home.classify(&message).exits(0).says("first-class paid");
    let actions = ["revoke", "explain", "unrevoke", "explain", "grant", "explain"];
    let said = ask(&actions.map(|action| request(action, &message)));
    let classes: Vec<String> = [1, 3, 5].map(|at| class(&said[at])).to_vec();
    assert_eq!(classes, ["revoked by-recipient", "first-class again", "first-class multi-use"]);
    let grants = home.run(["grants"], b"").exits(0).text();
    assert!(grants.contains("multi-use"), "{grants}");
}

#[test]
fn what_is_no_request_is_answered_or_ends_the_host() {
    let home = Home::new();
    let asked = [
        framed("{}"),
        framed(""),
        framed("\0\0"),
        framed(r#"{"action":"purge","message":""}"#),
        framed(r#"{"action":"explain","message":"","config":"/etc/passwd"}"#),
        framed(r#"{"action":"explain","message":"?"}"#),
        request("explain", b""),
        request("revoke", b"Subject: \0\n\n\xff"),
    ];
    let said = answers(&home.run(HOST, &asked.concat()).exits(0));
    let statuses: Vec<i64> = said.iter().map(|answer| answer["status"].as_i64().unwrap()).collect();
    assert_eq!(statuses, [65, 65, 65, 65, 65, 65, 0, 65]);
    assert!(said.iter().all(|answer| answer["status"] == 0 || answer["said"].as_str().unwrap().len() > 10), "{said:?}");
    for (input, code) in [(&b"\x05\0\0\0{"[..], 65), (b"\x05\0", 65), (b"\xff\xff\xff\xff", 65), (b"", 0)] {
        let said = home.run(HOST, input).exits(code);
        assert_eq!(said.stdout, b"");
        assert_eq!(said.stderr.is_empty(), code == 0, "{}", said.stderr);
    }
    let stranger = ["thunderbird", "host", "/home/x/mailstamp.json", "other@x.example"];
    let said = home.run(stranger, &request("explain", b"")).exits(77);
    assert!(said.stdout.is_empty() && said.stderr.contains("other@x.example: not the add-on"), "{}", said.stderr);
    // Without a configuration that can be read, the add-on shows the error.
    home.configure("addresses = 5");
    let said = answers(&home.run(HOST, &request("explain", b"")).exits(0));
    assert_eq!((&said[0]["status"], &said[0]["result"]), (&json!(78), &Value::Null));
    assert!(said[0]["said"].as_str().unwrap().contains("config.toml"), "{said:?}");
}

#[test]
fn thunderbird_finds_the_program_until_it_is_removed() {
    let home = Home::new();
    let message = home.stamped(&letter("1"));
    // A path that a shell would take apart.
    let config = home.file("it's a $(folder)/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::rename(home.config(), &config).unwrap();
    let vendors = home.config().with_file_name("vendors");
    fs::rename(vendors, config.with_file_name("vendors")).unwrap();
    for _ in 0..2 {
        let mut install = home.command();
        install.arg("--config").arg("it's a $(folder)/config.toml").args(["thunderbird", "install"]);
        run(install.current_dir(home.path()), b"").exits(0);
    }
    let manifest = home.file(".mozilla/native-messaging-hosts/mailstamp.json");
    let text: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    assert_eq!(text["allowed_extensions"], json!([HOST[3]]));
    let script = text["path"].as_str().unwrap();
    assert_eq!(fs::metadata(script).unwrap().permissions().mode() & 0o111, 0o111);
    // As Thunderbird starts it: with the manifest and the add-on, in a folder of its own.
    let mut host = Command::new(script);
    host.arg(&manifest).arg(HOST[3]).env_clear().env("HOME", home.path()).current_dir("/");
    let said = answers(&run(&mut host, &request("explain", &message)).exits(0));
    assert_eq!(said[0]["result"]["class"], "first-class", "{said:?}");
    home.run(["thunderbird", "remove"], b"").exits(0);
    home.run(["thunderbird", "remove"], b"").exits(0);
    assert!(!manifest.exists() && !std::path::Path::new(script).exists());
    let mut homeless = Command::new(MAILSTAMP);
    let said = run(homeless.args(["thunderbird", "install"]).env_clear().env("HOME", "relative"), b"").exits(69);
    assert!(said.stderr.contains("HOME"), "{}", said.stderr);
}

#[test]
fn files_of_other_programs_stay() {
    let home = Home::new();
    let folder = home.file(".mozilla/native-messaging-hosts");
    fs::create_dir_all(&folder).unwrap();
    let other = r#"{"name":"mailstamp","path":"/bin/other","type":"stdio","allowed_extensions":["other@x.example"]}"#;
    let files =
        [("mailstamp.json", other), ("mailstamp.json", "not JSON"), ("mailstamp-host", "#!/bin/sh\nexec true\n")];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        for command in ["install", "remove"] {
            let said = home.run(["thunderbird", command], b"").exits(65).stderr;
            let sentence = format!("/{name}: not written by mailstamp thunderbird install, and left as it is\n");
            assert!(said.contains(&sentence), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "{name}");
        }
        fs::remove_file(path).unwrap();
    }
    symlink("nowhere", folder.join("mailstamp.json")).unwrap();
    home.run(["thunderbird", "remove"], b"").exits(74);
    home.run(["thunderbird", "install"], b"").exits(74);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn the_add_on_is_packed_whole_and_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/thunderbird");
    let pack = |name: &str| {
        let path = folder.path().join(name);
        run(Command::new(format!("{source}/pack")).arg(&path).env("PATH", "/usr/bin:/bin"), b"").exits(0);
        fs::read(path).unwrap()
    };
    assert_eq!(pack("a.xpi"), pack("b.xpi"));
    let listed = r#"
import json, re, sys, zipfile
add_on = zipfile.ZipFile(sys.argv[1])
names = set(add_on.namelist())
text = lambda name: add_on.read(name).decode()
manifest = json.loads(text("manifest.json"))
keys = set(json.loads(text("_locales/en/messages.json")))
wanted = {manifest["message_display_action"][key] for key in ["default_icon", "default_popup"]}
wanted |= set(manifest["background"]["scripts"]) | set(manifest["icons"].values())
assert wanted <= names, wanted - names
code = "".join(text(name) for name in names if name.endswith((".js", ".html", ".json")))
# Each sentence is used, and each that is used exists; some names are made of the name of an action or of a fact.
used = set(re.findall(r'(?:getMessage\(|text\(|i18n=|__MSG_)"?(\w+?)(?=["_,)])', code))
made = {action + "Done" for action in ["grant", "revoke", "unrevoke"]}
facts = set(re.findall(r'\["(\w+)", (?:stamp|result)', code))
assert keys == (used & keys) | made | facts, keys ^ ((used & keys) | made | facts)
assert used - {"name", "term"} <= keys | facts, used - keys
print(manifest["version"], manifest["browser_specific_settings"]["gecko"]["id"], *sorted(manifest["permissions"]))
"#;
    let mut python = Command::new(program("python3", "python3"));
    let said = run(python.args(["-c", listed]).arg(folder.path().join("a.xpi")), b"").exits(0).text();
    assert_eq!(said, format!("{} {} messagesRead nativeMessaging\n", env!("CARGO_PKG_VERSION"), HOST[3]));
}
