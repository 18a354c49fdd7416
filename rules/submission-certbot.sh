#!/bin/sh
# Copies a renewed certificate to the server for outgoing mail (mailstamp-submission(8)), which takes it at the next
# connection. certbot(1) keeps its keys for root alone, and the server runs as you. Write your name below, and put this
# file, executable, into the folder of certbot's deploy hooks:
#
#   sudo install -m 755 rules/submission-certbot.sh /etc/letsencrypt/renewal-hooks/deploy/mailstamp
#
# The first time, run it by hand:
#
#   sudo RENEWED_LINEAGE=/etc/letsencrypt/live/mail.your.example /etc/letsencrypt/renewal-hooks/deploy/mailstamp
#
# Each file is replaced in one step. Between the two steps, the server keeps the previous certificate.
set -eu
user=you
folder=/home/you/.config/mailstamp

for file in fullchain.pem privkey.pem; do
    install -o "$user" -m 600 "$RENEWED_LINEAGE/$file" "$folder/.$file.new"
    mv "$folder/.$file.new" "$folder/$file"
done
