/* A milter that only accepts: what any milter costs (benches/milter.py). It sees each message, as a milter must that
   judges mail.

       accept_all SOCKET */

#include <libmilter/mfapi.h>
#include <stdio.h>

static sfsistat header(SMFICTX *context, char *name, char *value) {
    (void)context, (void)name, (void)value;
    return SMFIS_CONTINUE;
}

static sfsistat end_of_header(SMFICTX *context) {
    (void)context;
    return SMFIS_CONTINUE;
}

static sfsistat body(SMFICTX *context, unsigned char *piece, size_t length) {
    (void)context, (void)piece, (void)length;
    return SMFIS_CONTINUE;
}

static sfsistat end_of_message(SMFICTX *context) {
    (void)context;
    return SMFIS_ACCEPT;
}

int main(int argc, char **argv) {
    struct smfiDesc milter = {
        .xxfi_name = "accept-all",
        .xxfi_version = SMFI_VERSION,
        .xxfi_header = header,
        .xxfi_eoh = end_of_header,
        .xxfi_body = body,
        .xxfi_eom = end_of_message,
    };
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(milter) != MI_SUCCESS) {
        fputs("usage: accept_all SOCKET\n", stderr);
        return 64;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 69;
}
