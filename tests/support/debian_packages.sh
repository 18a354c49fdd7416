#!/bin/bash
# The life of the Debian packages on one machine, from the first installation to the purge. Runs as root in a Debian that is
# thrown away: tests/programs/debian.rs and tests/debian give it one. The packages are in /packages.
set -euo pipefail

fail() {
    echo "debian_packages.sh: error: $1" >&2
    exit 1
}
# What follows a step whose output must contain a text.
says() { grep -qF -- "$1" || fail "does not say: $1"; }
# The indented lines of a text from the first one with this command on.
block() { sed -n "/^    $1/,/^\$/s/^    //p"; }
owner() { stat -c '%U %a' "$1"; }
as_alice() { setpriv --reuid=alice --regid=alice --clear-groups env -i HOME=/home/alice USER=alice PATH=/usr/bin:/bin LANG=C.UTF-8 "$@"; }
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
packages=(/packages/mailstamp_*.deb /packages/mailstamp-vendor_*.deb)
units=(mailstamp-system.socket mailstamp-system.service mailstamp-system-refresh.timer mailstamp-gateway.service
    mailstamp-vendor.service)

# Unpacked but not configured, as after a power cut: the filter works.
dpkg --unpack "${packages[@]}"
code=0
(cd / && env -i HOME=/nonexistent /usr/bin/mailstamp classify <<< 'Subject: hello' > /tmp/said 2>&1) || code=$?
[ "$code" -ne 126 ] && [ "$code" -ne 127 ] || fail "after unpacking: exit status $code"
dpkg --configure -a

# Users and folders of their own, and no unit that starts by itself.
[ "$(owner /var/lib/mailstamp)" = "mailstamp 700" ] || fail "/var/lib/mailstamp: $(owner /var/lib/mailstamp)"
[ "$(owner /var/lib/mailstamp-vendor)" = "mailstamp-vendor 700" ] || fail "the vendor's folder is not its own"
[ "$(owner /etc/mailstamp)" = "root 755" ] || fail "/etc/mailstamp: $(owner /etc/mailstamp)"
for unit in "${units[@]}"; do
    [ -e "/lib/systemd/system/$unit" ] || fail "$unit is missing"
    ! find /etc/systemd -name "$unit" | grep . || fail "$unit is enabled"
done

# A user follows README.Debian and mailstamp(7), and doctor finds nothing.
useradd --create-home --shell /bin/bash alice
{ echo cd && block 'mkdir -p' < /usr/share/doc/mailstamp/README.Debian | grep -v doctor; } | as_alice bash -eu
as_alice bash -euc '
    cd
    [ -e /dev/log ] || echo "syslog = false" >> ~/.config/mailstamp/config.toml
    printf "From: you@your.example\nTo: friend@far.example\n\n" | mailstamp learn-sent
    cp /usr/share/mailstamp/rules/procmailrc ~/.procmailrc
    mailstamp vendor keygen --vendor stamps.example --kid 1 --out key > vendor.json
    mailstamp trust add vendor.json
    mailstamp vendor issue --key key --to you@your.example > stamp
    printf "From: a@far.example\nTo: you@your.example\n\nHello\n" | mailstamp affix --stamp-file stamp > stamped
    mailstamp classify < stamped
    mailstamp doctor' | tee /tmp/said
says "first-class paid" < /tmp/said
! grep -E '^(error|warning)' /tmp/said || fail "doctor is not clean"

# An upgrade in the middle of mail: each stamp is accepted, by the old program or by the new one.
touch /tmp/mail-goes-on
spend() {
    as_alice bash -euo pipefail -c 'cd
        mailstamp vendor issue --key key --to you@your.example > fresh
        printf "From: a@far.example\nTo: you@your.example\n\nHello\n" | mailstamp affix --stamp-file fresh > letter
        mailstamp classify < letter' > /tmp/verdict 2>&1
}
(
    calls=0
    while [ -e /tmp/mail-goes-on ]; do
        code=0
        spend || code=$?
        [ "$code $(cat /tmp/verdict)" = "0 first-class paid" ] || fail "during the upgrade: $code $(cat /tmp/verdict)"
        calls=$((calls + 1))
        echo "$calls" > /tmp/calls
    done
) &
mail=$!
wait_for_call() {
    local before
    before="$(cat /tmp/calls 2> /dev/null || echo 0)"
    while [ "$(cat /tmp/calls 2> /dev/null || echo 0)" -le "$((before + 1))" ] 2> /dev/null; do
        kill -0 "$mail" || fail "mail stopped"
        sleep 0.02
    done
}
wait_for_call
began="$(cat /tmp/calls)"
dpkg -i "${packages[@]}"
wait_for_call
ended="$(cat /tmp/calls)"
rm /tmp/mail-goes-on
wait "$mail" || fail "a message had no verdict during the upgrade"
echo "the upgrade took the time of $((ended - began)) messages"
for unit in "${units[@]}"; do
    ! find /etc/systemd -name "$unit" | grep . || fail "$unit is enabled after an upgrade"
done

as_alice bash -c 'mailstamp classify < ~/stamped' | says "first-class again"

# A ledger outlives the purge of its package, and is whole after a new installation.
as_vendor() { runuser -u mailstamp-vendor -- mailstamp "$@"; }
block runuser < /usr/share/doc/mailstamp-vendor/README.Debian | sed '/systemctl/,$d' | bash -euo pipefail
dpkg --purge mailstamp-vendor 2>&1 | tee /tmp/said
says "the ledger in /var/lib/mailstamp-vendor is kept" < /tmp/said
dpkg -i "${packages[1]}"
as_vendor vendor audit --ledger /var/lib/mailstamp-vendor

# Used logs and the configuration are kept, too, and users' files. Nothing else is.
touch /var/lib/mailstamp/mailboxes/used /etc/mailstamp/config.toml
dpkg --purge mailstamp-vendor mailstamp 2>&1 | tee /tmp/said
says "/var/lib/mailstamp is kept" < /tmp/said
says "/etc/mailstamp is kept" < /tmp/said
left() { find /etc /lib /usr /var /run -xdev -name '*mailstamp*' | sort | tr '\n' ' '; }
[ "$(left)" = "/etc/mailstamp /var/lib/mailstamp /var/lib/mailstamp-vendor " ] || fail "left behind: $(left)"
[ "$(find /var/lib/mailstamp -mindepth 1 | sort | tr '\n' ' ')" = "/var/lib/mailstamp/mailboxes /var/lib/mailstamp/mailboxes/used " ] ||
    fail "in /var/lib/mailstamp: $(find /var/lib/mailstamp)"
[ -e /home/alice/.config/mailstamp/config.toml ] || fail "a user's file is gone"

# Where there is nothing to keep, a second purge after an interrupted one leaves nothing.
dpkg -i --force-depends "${packages[1]}" > /dev/null 2>&1
rm -r /var/lib/mailstamp /etc/mailstamp /var/lib/mailstamp-vendor/*
dpkg --purge mailstamp-vendor
[ -z "$(left)" ] || fail "left behind: $(left)"
echo "installed, upgraded and purged"
