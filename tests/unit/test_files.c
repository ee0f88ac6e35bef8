// SPDX-License-Identifier: Apache-2.0
// .npy and .safetensors: round trips of every type, files as NumPy writes them, and files that lie.
#include "tests/unit/runtime_util.h"

static tilus_context *ctx;
static char dir[64];
static char path[128];

static int setup(void **s) {
    (void)s;
    temp_folder(dir);
    snprintf(path, sizeof path, "%s/file", dir);
    return tilus_context_create(&(tilus_context_params){.device = TILUS_DEVICE_VM}, &ctx) != TILUS_OK;
}

static int teardown(void **s) {
    (void)s;
    tilus_context_destroy(ctx);
    remove_folder(dir);
    return 0;
}

static const char *const round_types[] = {"f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"};

static void fill(uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)rng();
}

static size_t bytes_of(const char *dtype, int rank, const int64_t *dim) {
    vm_dtype t;
    size_t n, bytes;
    assert_true(vm_dtype_find(dtype, &t));
    assert_true(rt_shape_bytes(t, rank, dim, &n, &bytes));
    return bytes;
}

// ---- npy ----------------------------------------------------------------------------------------

static void npy_round_trip(void **s) {
    (void)s;
    static uint8_t data[8 * 7 * 5 * 3];
    for (size_t i = 0; i < sizeof round_types / sizeof *round_types; i++)
        for (int rank = 0; rank <= 3; rank++) {
            tilus_tensor t = {.dtype = round_types[i], .rank = rank, .dim = {7, 5, 3}, .data = data}, r;
            t.bytes = bytes_of(t.dtype, rank, t.dim);
            fill(data, t.bytes);
            if (tilus_npy_write(ctx, path, &t) != TILUS_OK) fail_msg("%s", tilus_error(ctx));
            if (tilus_npy_read(ctx, path, &r) != TILUS_OK) fail_msg("%s", tilus_error(ctx));
            assert_string_equal(r.dtype, t.dtype);
            assert_int_equal(r.rank, rank);
            assert_memory_equal(r.dim, t.dim, sizeof *t.dim * (size_t)rank);
            assert_int_equal(r.bytes, t.bytes);
            assert_memory_equal(r.data, data, t.bytes);
            assert_int_equal((uintptr_t)r.data % 64, 0);
            tilus_tensor_free(ctx, &r);
            assert_null(r.data);
        }
    tilus_tensor t = {.dtype = "f8e4m3", .rank = 1, .dim = {5}, .data = data, .bytes = 5}, r;
    assert_int_equal(tilus_npy_write(ctx, path, &t), TILUS_OK);
    assert_int_equal(tilus_npy_read(ctx, path, &r), TILUS_OK);
    assert_string_equal(r.dtype, "u8");
    tilus_tensor_free(ctx, &r);
    t = (tilus_tensor){.dtype = "f32", .rank = 2, .dim = {0, 4}};
    assert_int_equal(tilus_npy_write(ctx, path, &t), TILUS_OK);
    assert_int_equal(tilus_npy_read(ctx, path, &r), TILUS_OK);
    assert_int_equal(r.bytes, 0);
    tilus_tensor_free(ctx, &r);
    t = (tilus_tensor){.dtype = "u4", .rank = 1, .dim = {4}, .data = data, .bytes = 2};
    assert_int_equal(tilus_npy_write(ctx, path, &t), TILUS_UNSUPPORTED);
    t.dtype = "nonsense";
    assert_int_equal(tilus_npy_write(ctx, path, &t), TILUS_INVALID_ARGUMENT);
    t = (tilus_tensor){.dtype = "f32", .rank = 1, .dim = {4}, .data = data, .bytes = 15};
    assert_int_equal(tilus_npy_write(ctx, path, &t), TILUS_INVALID_ARGUMENT);
    t.bytes = 16;
    assert_int_equal(tilus_npy_write(ctx, "/nowhere/x.npy", &t), TILUS_IO_ERROR);
    assert_int_equal(tilus_npy_read(ctx, "/nowhere/x.npy", &r), TILUS_IO_ERROR);
    assert_int_equal(tilus_npy_read(ctx, dir, &r), TILUS_IO_ERROR);
}

/// A file with this header text and n bytes of data.
static void npy(int version, const char *header, const void *data, size_t n) {
    static uint8_t file[4096];
    const size_t k = strlen(header), start = version == 1 ? 10 : 12;
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (uint8_t)version;
    file[7] = 0;
    for (size_t i = 8; i < start; i++) file[i] = (uint8_t)(k >> (8 * (i - 8)));
    memcpy(file + start, header, k);
    memcpy(file + start + k, data, n);
    put_file(path, file, start + k + n);
}

static void npy_fortran(void **s) {
    (void)s;
    counter k = {.left = -1};
    const tilus_allocator a = {count_alloc, count_release, &k};
    tilus_context *c;
    assert_int_equal(tilus_context_create(&(tilus_context_params){.device = TILUS_DEVICE_VM, .alloc = &a}, &c), TILUS_OK);
    int16_t data[2 * 3 * 4], want[2 * 3 * 4];
    for (int i = 0; i < 24; i++) data[i] = (int16_t)rng();
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int l = 0; l < 4; l++) want[(i * 3 + j) * 4 + l] = data[i + 2 * (j + 3 * l)];
    for (int version = 1; version <= 3; version++) {
        npy(version, "{'shape': (2, 3, 4), \"fortran_order\":True,'descr':'<i2'}   \n", data, sizeof data);
        tilus_tensor t;
        if (tilus_npy_read(c, path, &t) != TILUS_OK) fail_msg("%s", tilus_error(c));
        assert_int_equal(t.rank, 3);
        assert_memory_equal(t.data, want, sizeof want);
        tilus_tensor_free(c, &t);
    }
    k.left = 0;
    tilus_tensor t;
    assert_int_equal(tilus_npy_read(c, path, &t), TILUS_OUT_OF_MEMORY);
    k.left = -1;
    tilus_context_destroy(c);
    assert_int_equal(k.live, 0);
}

static void npy_malformed(void **s) {
    (void)s;
    uint8_t data[64];
    fill(data, sizeof data);
    const struct {
        const char *header;
        tilus_status status;
    } rows[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (16,), }", TILUS_OK},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (17,), }", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", TILUS_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'fortran_order': False}", TILUS_BAD_FORMAT},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}", TILUS_BAD_FORMAT},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", TILUS_UNSUPPORTED},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", TILUS_UNSUPPORTED},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", TILUS_UNSUPPORTED},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}", TILUS_BAD_FORMAT},
        {"[1]", TILUS_BAD_FORMAT},
        {"", TILUS_BAD_FORMAT},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (3L, 2L)}", TILUS_OK},
        {"{'descr': '=f8', 'fortran_order': False, 'shape': ()}", TILUS_OK},
        {"{'descr': '|V2', 'fortran_order': False, 'shape': (0, 4611686018427387904)}", TILUS_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        npy(1, rows[i].header, data, sizeof data);
        tilus_tensor t;
        const tilus_status r = tilus_npy_read(ctx, path, &t);
        if (r != rows[i].status) fail_msg("row %zu: %s: %s", i, tilus_status_text(r), tilus_error(ctx));
        if (r != TILUS_OK) assert_non_null(strstr(tilus_error(ctx), path));
        tilus_tensor_free(ctx, &t);
    }
    npy(4, rows[0].header, data, sizeof data);
    tilus_tensor t;
    assert_int_equal(tilus_npy_read(ctx, path, &t), TILUS_UNSUPPORTED);
    // cut at every length, and random damage to the header: never a crash
    npy(2, rows[0].header, data, sizeof data);
    uint8_t file[512];
    FILE *f = fopen(path, "rb");
    const size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    for (size_t k = 0; k < n; k++) {
        put_file(path, file, k);
        assert_int_equal(tilus_npy_read(ctx, path, &t), TILUS_BAD_FORMAT);
    }
    for (int round = 0; round < 3000; round++) {
        uint8_t copy[512];
        memcpy(copy, file, n);
        for (int i = 0; i < 1 + round % 3; i++) copy[rng() % (n - 64)] = (uint8_t)rng();
        put_file(path, copy, n);
        tilus_npy_read(ctx, path, &t);
        tilus_tensor_free(ctx, &t);
    }
}

// ---- safetensors --------------------------------------------------------------------------------

static void safetensors_round_trip(void **s) {
    (void)s;
    static const char *const more[] = {"f8e4m3", "f8e5m2", "f8e8m0"};
    enum { K = sizeof round_types / sizeof *round_types + 3 };
    static uint8_t data[K][8 * 30];
    tilus_tensor t[K];
    char names[K][32];
    for (int i = 0; i < K; i++) {
        t[i] = (tilus_tensor){.dtype = i < K - 3 ? round_types[i] : more[i - (K - 3)], .rank = i % 4, .dim = {5, 3, 2}, .data = data[i]};
        snprintf(names[i], sizeof names[i], "layer.%d.\"w\xc3\xa9\"", i);
        t[i].name = names[i];
        t[i].bytes = bytes_of(t[i].dtype, t[i].rank, t[i].dim);
        fill(data[i], t[i].bytes);
    }
    if (tilus_safetensors_write(ctx, path, t, K) != TILUS_OK) fail_msg("%s", tilus_error(ctx));
    tilus_safetensors *f;
    if (tilus_safetensors_open(ctx, path, &f) != TILUS_OK) fail_msg("%s", tilus_error(ctx));
    assert_int_equal(tilus_safetensors_count(f), K);
    tilus_tensor r;
    for (int i = 0; i < K; i++) {
        assert_int_equal(tilus_safetensors_at(f, (size_t)i, &r), TILUS_OK);
        assert_string_equal(r.name, t[i].name);
        assert_int_equal(tilus_safetensors_find(f, t[i].name, &r), TILUS_OK);
        assert_string_equal(r.dtype, t[i].dtype);
        assert_int_equal(r.rank, t[i].rank);
        assert_memory_equal(r.dim, t[i].dim, sizeof *r.dim * (size_t)r.rank);
        assert_int_equal(r.bytes, t[i].bytes);
        assert_memory_equal(r.data, data[i], r.bytes);
    }
    assert_int_equal(tilus_safetensors_at(f, K, &r), TILUS_INVALID_ARGUMENT);
    assert_int_equal(tilus_safetensors_find(f, "none", &r), TILUS_NOT_FOUND);
    tilus_safetensors_close(f);
    t[1].name = t[0].name;
    assert_int_equal(tilus_safetensors_write(ctx, path, t, 2), TILUS_INVALID_ARGUMENT);
    t[0].dtype = "u4";
    t[0].bytes = 1;
    assert_int_equal(tilus_safetensors_write(ctx, path, t, 1), TILUS_UNSUPPORTED);
    assert_int_equal(tilus_safetensors_open(ctx, "/nowhere/m.safetensors", &f), TILUS_IO_ERROR);
    assert_int_equal(tilus_safetensors_count(NULL), 0);
}

static void st(const char *header, uint64_t stated, size_t n) {
    static uint8_t file[4096];
    const size_t k = strlen(header);
    for (int i = 0; i < 8; i++) file[i] = (uint8_t)(stated >> (8 * i));
    memcpy(file + 8, header, k);
    fill(file + 8 + k, n);
    put_file(path, file, 8 + k + n);
}

static void safetensors_malformed(void **s) {
    (void)s;
#define W(dtype, shape, offsets) "{\"__metadata__\":{\"a\":\"b\"},\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
    const struct {
        const char *header;
        tilus_status status;
    } rows[] = {
        {W("\"F32\"", "[4]", "[0,16]"), TILUS_OK},
        {W("\"F32\"", "[4]", "[0,20]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[4]", "[16,0]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[4]", "[-16,0]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[16]", "[32,96]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[4]", "[0]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[4]", "[0,16.0]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[-4]", "[0,16]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[4611686018427387904,4611686018427387904]", "[0,16]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "4", "[0,16]"), TILUS_BAD_FORMAT},
        {W("\"F32\"", "[1,1,1,1,1,1,1,1,4]", "[0,16]"), TILUS_UNSUPPORTED},
        {W("\"C64\"", "[2]", "[0,16]"), TILUS_UNSUPPORTED},
        {W("7", "[2]", "[0,16]"), TILUS_BAD_FORMAT},
        {"{\"w\":5}", TILUS_BAD_FORMAT},
        {"{\"w\":", TILUS_BAD_FORMAT},
        {"[]", TILUS_BAD_FORMAT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", TILUS_BAD_FORMAT},
        {"{}   ", TILUS_OK},
        {W("\"BOOL\"", "[0, 9]", "[64,64]"), TILUS_OK},
    };
    tilus_safetensors *f;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        st(rows[i].header, strlen(rows[i].header), 64);
        const tilus_status r = tilus_safetensors_open(ctx, path, &f);
        if (r != rows[i].status) fail_msg("row %zu: %s: %s", i, tilus_status_text(r), tilus_error(ctx));
        if (r != TILUS_OK) assert_non_null(strstr(tilus_error(ctx), path));
        tilus_safetensors_close(f);
    }
    const char *good = rows[0].header;
    const uint64_t lies[] = {0, 1, strlen(good) - 1, strlen(good) + 65, 1ULL << 27, UINT64_MAX};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        st(good, lies[i], 64);
        assert_int_equal(tilus_safetensors_open(ctx, path, &f), TILUS_BAD_FORMAT);
        assert_null(f);
    }
    st(good, strlen(good), 16);
    uint8_t file[512];
    FILE *in = fopen(path, "rb");
    const size_t n = fread(file, 1, sizeof file, in);
    fclose(in);
    for (size_t k = 0; k < n; k++) {
        put_file(path, file, k);
        assert_int_equal(tilus_safetensors_open(ctx, path, &f), TILUS_BAD_FORMAT);
    }
    for (int round = 0; round < 3000; round++) {
        uint8_t copy[512];
        memcpy(copy, file, n);
        for (int i = 0; i < 1 + round % 3; i++) copy[rng() % (n - 16)] = (uint8_t)rng();
        put_file(path, copy, n);
        tilus_safetensors_open(ctx, path, &f);
        tilus_safetensors_close(f);
    }
}

static void safetensors_no_memory(void **s) {
    (void)s;
    const char *header = "{\"w\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}";
    st(header, strlen(header), 3);
    counter k = {.left = -1};
    const tilus_allocator a = {count_alloc, count_release, &k};
    tilus_context *c;
    assert_int_equal(tilus_context_create(&(tilus_context_params){.device = TILUS_DEVICE_VM, .alloc = &a}, &c), TILUS_OK);
    tilus_safetensors *f;
    for (k.left = 0; tilus_safetensors_open(c, path, &f) != TILUS_OK;) {
        static long left;
        assert_null(f);
        k.left = ++left;
        assert_true(left < 100);
    }
    k.left = -1;
    tilus_safetensors_close(f);
    tilus_context_destroy(c);
    assert_int_equal(k.live, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_round_trip),         cmocka_unit_test(npy_fortran),           cmocka_unit_test(npy_malformed),
        cmocka_unit_test(safetensors_round_trip), cmocka_unit_test(safetensors_malformed), cmocka_unit_test(safetensors_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
