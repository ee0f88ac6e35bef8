// SPDX-License-Identifier: Apache-2.0
// Build-time tool: writes the files named on the command line as C arrays (see embed.h).
//   embed OUT ROOT NAME…      NAME: path below ROOT, and the name by which the text is imported
#include <errno.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what) {
    fprintf(stderr, "embed: %s: %s\n", what, strerror(errno));
    return 1;
}

static int write_one(FILE *out, const char *root, const char *name, int number, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *in = fopen(path, "rb");
    if (!in) return fail(path);
    fprintf(out, "static const char text_%d[] = {", number);
    *size = 0;
    for (int ch; (ch = getc(in)) != EOF; ++*size)
        fprintf(out, "%s%d,", *size % 24 ? "" : "\n", ch < 128 ? ch : ch - 256);
    fprintf(out, "0,0};\n");
    fclose(in);
    return 0;
}

int main(int argc, char **argv) {
    enum { MAX = 256 };
    size_t size[MAX];
    if (argc < 3 || argc - 3 > MAX) return 2;
    FILE *out = fopen(argv[1], "wb");
    if (!out) return fail(argv[1]);
    fprintf(out, "#include \"runtime/embed.h\"\n");
    const int n = argc - 3;
    for (int i = 0; i < n; i++)
        if (write_one(out, argv[2], argv[i + 3], i, &size[i])) return 1;
    fprintf(out, "const embed_file embed_files[] = {\n");
    for (int i = 0; i < n; i++) fprintf(out, "    {\"%s\", text_%d, %zu},\n", argv[i + 3], i, size[i]);
    fprintf(out, "    {0, 0, 0},\n};\nconst unsigned embed_count = %d;\n", n);
    return fclose(out) ? fail(argv[1]) : 0;
}
