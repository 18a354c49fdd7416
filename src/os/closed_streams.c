/* Marks closed standard descriptors, before main.
 *
 * The runtime of Rust opens /dev/null for reading and writing in place of each closed one, before any Rust code can
 * look. Writing to it succeeds and reading from it is an empty message, so mail would be lost. So each is opened here,
 * in the mode that its use does not need, as glibc does for set-id programs (csu/check_fds.c). Then reading and
 * writing fail, and standard_streams.rs sees it. The next program that is executed sees it too.
 *
 * Without headers, since only the linker is sure to be installed where Rust is. The numbers are Linux's. */

extern int fcntl(int descriptor, int command, ...);
extern int open(const char *path, int flags, ...);

enum { GET_DESCRIPTOR_FLAGS = 1, READ_ONLY = 0, WRITE_ONLY = 1 };

__attribute__((constructor)) static void mark_closed_streams(void) {
    static const int modes[] = {WRITE_ONLY, READ_ONLY, WRITE_ONLY};
    for (int stream = 0; stream < 3; stream++) {
        /* open(2) returns the lowest free descriptor, which is this one. */
        if (fcntl(stream, GET_DESCRIPTOR_FLAGS) == -1 && open("/dev/null", modes[stream]) == -1) {
            return;
        }
    }
}
