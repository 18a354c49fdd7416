//! The submission server of the daemon under real mail programs, with a real Postfix behind it. Postfix needs root.

use crate::support::postfix::Postfix;
use crate::support::programs::{chmod, eventually_or, give, program, recipe};
use crate::support::submission::{PASSWORD, Submission, USER, configure};
use crate::support::{Home, run};
use std::fs;
use std::process::Command;

const JOE: &str = "joe@x.example";

/// Python's smtplib: AUTH PLAIN and LOGIN, two recipients, and an address beyond ASCII.
const SMTPLIB: &str = r#"
import smtplib, sys
from email.message import EmailMessage
port, user, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for method in "auth_plain", "auth_login":
    with smtplib.SMTP("127.0.0.1", port) as server:
        server.ehlo()
        server.user, server.password = user, password
        server.auth(method[5:].upper(), getattr(server, method))
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "joe@x.example", "alice@x.example", method
        message["Message-ID"] = f"<{method}@x.example>"
        message.set_content("größe\n.dot\n", cte="8bit")
        assert server.send_message(message, to_addrs=["alice@x.example", "bob@x.example"]) == {}
with smtplib.SMTP("127.0.0.1", port) as server:
    server.ehlo()
    server.login(user, password)
    utf8 = "From: zoë@x.example\r\nTo: zoë@x.example\r\nSubject: utf8\r\nMessage-ID: <u@x>\r\n\r\nhi\r\n".encode()
    assert server.sendmail("zoë@x.example", ["zoë@x.example"], utf8, mail_options=["SMTPUTF8", "BODY=8BITMIME"]) == {}
"#;

/// The server, Postfix behind it with a Maildir for each name, and the folder of those.
fn site(names: &[&str]) -> (Home, tempfile::TempDir, Postfix) {
    let (home, boxes) = (Home::bare(), tempfile::tempdir().unwrap());
    let number = |option| run(Command::new("id").args([option, "postfix"]), b"").exits(0).text().trim().parse();
    let (user, group) = (number("-u").unwrap(), number("-g").unwrap());
    give(boxes.path(), user, group);
    chmod(boxes.path(), 0o755);
    let maps: Vec<String> = names.iter().map(|name| format!("{{ {name}@x.example = {name}/ }}")).collect();
    let main = format!(
        "mydestination =\nvirtual_mailbox_domains = x.example\nvirtual_mailbox_base = {}\n\
         virtual_mailbox_maps = inline:{{ {} }}\nvirtual_minimum_uid = 1\nvirtual_uid_maps = static:{user}\n\
         virtual_gid_maps = static:{group}\nsmtputf8_enable = yes\n",
        boxes.path().display(),
        maps.join(", "),
    );
    let postfix = Postfix::start_with(&main, "virtual unix - n n - - virtual\n");
    let smtp = format!("[sendmail.smtp]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"off\"", postfix.port());
    let text = format!("addresses = [{JOE:?}]\n[sendmail]\nnone = [\"*@x.example\"]\n{smtp}");
    configure(&home, &text, "max_message_size = 1000000");
    (home, boxes, postfix)
}

#[test]
fn mail_programs_send_through_the_daemon() {
    let (home, boxes, postfix) = site(&["alice", "bob", "zoë"]);
    let daemon = Submission::start(&home);
    let port = daemon.address.port().to_string();
    let python = program("python3", "python3");
    run(Command::new(python).args(["-", &port, USER, PASSWORD]), SMTPLIB.as_bytes()).exits(0);

    let msmtp = || {
        let mut command = Command::new(program("msmtp", "msmtp"));
        command.args(["--file=/dev/null", "--host=127.0.0.1", "--auth=plain", "--tls=off", "--from=joe@x.example"]);
        command.arg(format!("--port={port}")).arg(format!("--user={USER}"));
        command.arg(format!("--passwordeval=cat {}", home.file("submission-password").display()));
        command
    };
    let text = format!("From: {JOE}\nTo: alice@x.example\nSubject: msmtp\nMessage-ID: <m@x.example>\n\n.x\n");
    run(msmtp().arg("alice@x.example"), text.as_bytes()).exits(0);
    // A second time it is the same message.
    run(msmtp().arg("alice@x.example"), text.as_bytes()).exits(0);
    run(msmtp().arg("no address"), text.as_bytes()).exits(65);

    let swaks = |more: &[&str]| {
        let mut command = Command::new(program("swaks", "swaks"));
        command.args(["--server", "127.0.0.1", "--port", &port, "--from", JOE, "--to", "bob@x.example"]);
        command.args(["--auth-user", USER, "--auth-password", PASSWORD]).args(more);
        run(&mut command, b"")
    };
    swaks(&["--auth", "PLAIN", "--pipeline", "--header", "Subject: swaks"]).exits(0);
    swaks(&["--auth", "LOGIN", "--header", "Subject: swaks"]).exits(0);
    // 28: the server refused the login; 26: the message.
    let wrong = swaks(&["--auth", "PLAIN", "--auth-password", "wrong"]);
    assert!(wrong.code == 28 && wrong.text().contains("535 5.7.8"), "{}", wrong.text());
    let large = home.file("large");
    fs::write(&large, "x".repeat(70).repeat(20_000)).unwrap();
    let large = swaks(&["--auth", "PLAIN", "--body", large.to_str().unwrap()]);
    assert!(large.code != 0 && large.text().contains("552 5.3.4"), "{}", large.text());

    for (name, subjects) in [
        ("alice", vec!["auth_login", "auth_plain", "msmtp"]),
        ("bob", vec!["auth_login", "auth_plain", "swaks", "swaks"]),
        ("zoë", vec!["utf8"]),
    ] {
        let folder = boxes.path().join(name).join("new");
        let found = || {
            let entries = fs::read_dir(&folder).ok()?;
            let texts = entries.map(|entry| String::from_utf8(fs::read(entry.unwrap().path()).unwrap()).unwrap());
            let mut found: Vec<String> = texts
                .map(|text| text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned())
                .collect();
            found.sort();
            (found.len() >= subjects.len()).then_some(found)
        };
        assert_eq!(eventually_or(name, found, || postfix.log()), subjects, "{name}");
    }
    daemon.end();
}

#[test]
fn the_recipe_is_a_configuration() {
    let home = Home::bare();
    let own = home.path().display().to_string();
    let text = recipe("submission.toml", &[("/home/you/.config/mailstamp", &own)]);
    home.configure(&text);
    for name in ["submission-password", "provider-password"] {
        fs::write(home.file(name), "x\n").unwrap();
        chmod(&home.file(name), 0o600);
    }
    home.run(["config", "check"], b"").exits(0);
}
