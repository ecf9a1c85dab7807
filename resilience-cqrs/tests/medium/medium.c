/* A medium that fails while a file named MEDIUM_SWITCH exists: loaded before the C library, it answers writes and syncs of
   regular files with what is in that file ("EIO" fails syncs, "ENOSPC" fails writes that would need room). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(int fd, const char *how) {
    const char *path = getenv("MEDIUM_SWITCH");
    struct stat of;
    char word[8] = {0};
    if (path == NULL || fstat(fd, &of) != 0 || !S_ISREG(of.st_mode)) return 0;
    int at = open(path, O_RDONLY | O_CLOEXEC);
    if (at < 0) return 0;
    ssize_t length = read(at, word, sizeof word - 1);
    close(at);
    return length > 0 && strcmp(word, how) == 0;
}

#define NEXT(name, type) ((type)dlsym(RTLD_NEXT, name))

ssize_t write(int fd, const void *from, size_t count) {
    if (fails(fd, "ENOSPC")) return errno = ENOSPC, -1;
    return NEXT("write", ssize_t (*)(int, const void *, size_t))(fd, from, count);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
    if (fails(fd, "ENOSPC")) return errno = ENOSPC, -1;
    return NEXT("pwrite", ssize_t (*)(int, const void *, size_t, off_t))(fd, from, count, at);
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    if (fails(fd, "ENOSPC")) return errno = ENOSPC, -1;
    return NEXT("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))(fd, from, count, at);
}

int fsync(int fd) {
    if (fails(fd, "EIO")) return errno = EIO, -1;
    return NEXT("fsync", int (*)(int))(fd);
}

int fdatasync(int fd) {
    if (fails(fd, "EIO")) return errno = EIO, -1;
    return NEXT("fdatasync", int (*)(int))(fd);
}
