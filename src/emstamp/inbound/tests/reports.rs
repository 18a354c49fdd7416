//! Messages of the null sender where only reports about own mail are taken.

use super::*;

const FROM: &str = "EHLO y.example\r\nMAIL FROM:<>\r\n";
const TO: &str = "EHLO y.example\r\nMAIL FROM:<>\r\nRCPT TO:<paid@x.example>\r\n";

/// A report about a message with this ID, as it is sent; `about` makes it another one.
fn report(id: &str, about: &str) -> String {
    format!(
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\
         Content-Type: message/delivery-status\r\n\r\nOriginal-Envelope-Id: {id}\r\n\r\n\
         Final-Recipient: rfc822; {about}\r\nAction: failed\r\n\r\n--b--\r\n.\r\n"
    )
}

fn case() -> Case {
    let mut case = Case::new();
    case.settings.null_sender = NullSender::Reports;
    case
}

#[test]
fn a_report_about_own_mail_is_free() {
    let told = case().run(&[TO, "DATA\r\n", &report("by-paid", "b@y.example")]);
    assert_eq!(told.codes(), ["250", "250", "250", "354", "250"]);
    assert_eq!(told.inner.messages[0].0, ["MAIL FROM:<>", "RCPT TO:<paid@x.example>"]);
    assert_eq!(told.log, ["report by-paid", "delivered true"]);
    // Nothing is offered to a client that could pay, and who is named twice gets it once.
    let to = "EHLO y.example\r\nMAIL FROM:<> EMSTAMP\r\nRCPT TO:<paid@x.example>\r\nRCPT TO:<Paid@x.example>\r\n";
    let told = case().run(&[to, "DATA\r\n", &report("by-paid", "b@y.example")]);
    assert_eq!(told.inner.messages[0].0.len(), 2);
    assert!(!told.client.contains("price="), "{}", told.client);
}

#[test]
fn any_other_message_without_a_sender_is_refused_at_its_end() {
    for (text, why) in [
        (BODY.to_owned(), "this is no delivery report"),
        (report("by-dear", "b@y.example"), "this report names no message that the mailbox sent from here"),
        (report("none", "b@y.example"), "this report names no message that the mailbox sent from here"),
        (report("old", "b@y.example"), "this report is about a message of more than 30 days ago"),
    ] {
        let told = case().run(&[TO, "DATA\r\n", &text, "MAIL FROM:<ann@y.example>\r\n"]);
        told.hears(&format!(
            "550-5.7.1 <paid@x.example>: this mailbox takes no message without a sender but reports about its own mail\n\
             550-5.7.1 {why}\n550 5.7.1 write with the address of a sender, and see https://x.example/mail\n250"
        ));
        assert_eq!((told.inner.messages.len(), told.log.len()), (0, 0), "{why}");
        assert_eq!(told.inner.taken[told.inner.taken.len() - 2], "RSET");
    }
    // It is made for one mailbox.
    let both = format!("{TO}RCPT TO:<dear@x.example>\r\n");
    let told = case().run(&[&both, "DATA\r\n", &report("by-paid", "b@y.example")]);
    told.hears("550-5.7.1 this report names no message that the mailbox sent from here\n");
}

#[test]
fn a_report_is_delivered_once() {
    let again = "MAIL FROM:<>\r\nRCPT TO:<paid@x.example>\r\n";
    let first = report("by-paid", "b@y.example");
    let same = first.replace("failed", "Failed");
    let told = case().run(&[TO, "DATA\r\n", &first, again, "DATA\r\n", &first, again, "DATA\r\n", &same]);
    told.hears("250 2.0.0 this report was delivered before\n");
    told.hears("550-5.7.1 what this report says was reported before\n");
    assert_eq!((told.inner.messages.len(), told.log.len()), (1, 2));
    let mut full = case();
    full.books.is_full = true;
    full.run(&[TO, "DATA\r\n", &first]).hears("550-5.7.1 too many reports about the same message came before\n");
    let mut away = case();
    away.books.is_away = true;
    away.run(&[TO, "DATA\r\n", &first]).hears("354 end with a dot on a line of its own\n451 4.3.0 ");
}

#[test]
fn a_report_that_was_not_delivered_may_come_again() {
    let text = report("by-paid", "b@y.example");
    for (answer, ends_at, log, heard) in [
        ("451 4.3.0 later", None, vec!["report by-paid", "delivered false"], "451 4.3.0 later\n"),
        ("", Some("DATA"), vec!["report by-paid", "delivered false"], "421 4.3.2 "),
        ("", Some("."), vec!["report by-paid"], "451 4.4.2 "),
    ] {
        let mut case = case();
        (case.inner.answer, case.inner.ends_at) = (answer, ends_at);
        let told = case.run(&[TO, "DATA\r\n", &text]);
        told.hears(heard);
        assert_eq!(told.log, log, "{heard}");
    }
}

#[test]
fn mailboxes_of_both_kinds_get_no_bounce_together() {
    for (first, second) in [("paid", "bob"), ("bob", "paid"), ("paid", "postmaster")] {
        let address = |name: &str| if name == "postmaster" { name.to_owned() } else { format!("{name}@x.example") };
        let to = format!("{FROM}RCPT TO:<{}>\r\nRCPT TO:<{}>\r\n", address(first), address(second));
        let told = case().run(&[&to, "DATA\r\n", &report("by-paid", "b@y.example")]);
        told.hears("452 4.5.3 mailboxes with and without a price get no bounce together\n");
        assert_eq!(told.codes()[2..], ["250", "452", "354", "250"], "{first} {second}");
        assert_eq!(told.inner.messages[0].0[1..], [format!("RCPT TO:<{}>", address(first))]);
    }
    // A refused one decides nothing.
    let to = format!("{FROM}RCPT TO:<away@x.example>\r\nRCPT TO:<gone@x.example>\r\nRCPT TO:<bob@x.example>\r\n");
    let told = case().run(&[&to, "DATA\r\n", BODY]);
    assert_eq!(told.codes()[2..], ["451", "550", "250", "354", "250"]);
    // With a sender, they do.
    let to = format!("{AWARE}RCPT TO:<paid@x.example>\r\nRCPT TO:<bob@x.example>\r\n");
    assert_eq!(case().run(&[&to]).codes()[2..], ["250", "250"]);
}
