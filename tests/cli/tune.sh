#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tilusc tune on the virtual GPU: spaces, shapes, what is known, interruption, databases that cannot be
# used, rows out and choices by them in run, test and build.
. "$(dirname "$0")/lib.sh"
export TILUS_TUNE_DB="$W/tune.sqlite"

cat >scale.tvm <<'EOT'
kernel scale[T: type = f32, BLOCK: int, W: int, BAD: int = 0](n: i32, f: T, x: global T[n], y: global T[n])
    where BLOCK <= 1024;
    tune {
        BLOCK in [128, 256, 512, 65536];
        W in [1, 4, 8];
        when BLOCK >= 32 * W;
    }
    launch { grid = cdiv(n, BLOCK); warps = W; }
{ store(y[block.x * BLOCK +: BLOCK], load(x[block.x * BLOCK +: BLOCK]) * f); }

// what it computes depends on the point: the second is wrong if the first is right
kernel wrong[K: int](n: i32, x: global f32[n], y: global f32[n])
    tune { K in [1, 2, 3]; }
    launch { grid = cdiv(n, 128); warps = 4; }
{ store(y[block.x * 128 +: 128], load(x[block.x * 128 +: 128]) * (select(K == 2, 7.0, 1.0))); }

// reads what is not there, at one point
kernel faulty[K: int](n: i32, x: global f32[n], y: global f32[n])
    tune { K in [0, 1]; }
    launch { grid = 1; warps = 4; }
{
    const if K == 1 { assert(n < 0, "never"); }
    store(y[0 +: 128], load(x[0 +: 128]) + 1.0);
}

// never ends, at one point
kernel endless[K: int](n: i32, x: global f32[n], y: global f32[n])
    tune { K in [0, 1, 2]; }
    launch { grid = 1; warps = 1; }
{
    var i = 0;
    const if K == 1 { while i < n { i = i - i % 2; } }
    store(y[0 +: 32], load(x[0 +: 32]) + 1.0);
}

// no point fits the shape
kernel picky[K: int](n: i32, x: global f32[n], y: global f32[n])
    requires n % (K * 7) == 0;
    tune { K in [1, 2]; }
    launch { grid = 1; warps = 4; }
{ store(y[0 +: 128], load(x[0 +: 128]) + 1.0); }

kernel fixed(n: i32, x: global f32[n], y: global f32[n])
    launch { grid = 1; warps = 4; }
{ store(y[0 +: 128], load(x[0 +: 128]) + 1.0); }

test "the known point is right" {
    let x = random(f32[900], seed = 3);
    var y = full(f32[900], NAN);
    run scale(900, 2.0, x, y);
    expect_equal(y, x * 2.0);
}
EOT
tune="$TILUSC tune --on=vgpu scale.tvm"
xy='x=random(f32[n],seed=1) y=full(f32[n],NAN)'

# every point, the best of them
exits 0 $tune scale n=1000 f=2.0 $xy --check='expect_equal(y, x * 2.0)' -o y=y.npy
says out '8 of 12 points fit, 8 timed'
says out 'best BLOCK='
ok [ "$(grep -c ' counts' out)" = 9 ]
ok [ -s y.npy ]
# known: nothing is run but the best one, for its results
exits 0 $tune scale n=1000 f=2.0 $xy --check='expect_equal(y, x * 2.0)'
says out '8 of 12 points fit, 8 known'
exits 0 $tune scale --again n=1000 f=2.0 $xy --jobs=1
says out '8 timed'
# several shapes and types; values together
exits 0 $tune scale --each=n=200,3000 --each=T=f32,f16 f=2.0 'x=random(T[n],seed=1)' 'y=full(T[n],NAN)'
ok [ "$(grep -c 'best BLOCK' out)" = 4 ]
says out 'scale n=200 T=f32: 8 of 12'
says out 'scale n=3000 T=f16: best'
exits 0 $tune scale --each=n,f=64:2.0,65:3.0 $xy -D W=4
says out 'scale n=65 f=3.0: 3 of 4 points fit, 3 timed'

# rows
exits 0 "$TILUSC" tune --export
ok [ "$(head -n 1 out)" = 'program,kernel,metas,shape,gpu,arch,sms,values,cost,unit' ]
cp out rows
ok [ "$(grep -c '^scale.tvm,scale,' rows)" = 7 ]
ok grep -q '^scale.tvm,scale,T=f32 BAD=0,n=1000,vgpu,sm_90a,132,BLOCK=[0-9]* W=[0-9]*,[0-9]*,count$' rows
exits 0 "$TILUSC" tune --export scale.tvm wrong
ok [ "$(wc -l <out)" = 1 ]
best=$(sed -n 's/^scale.tvm,scale,T=f32 BAD=0,n=1000,.*,BLOCK=\([0-9]*\) W=\([0-9]*\),.*/BLOCK_\1_W_\2/p' rows)

# choices: the best point runs, the first one without a database
exits 0 "$TILUSC" profile scale.tvm scale n=1100 f=2.0 $xy
says out "_${best}_BAD_0"
exits 0 "$TILUSC" profile --tune-db=none scale.tvm scale n=1100 f=2.0 $xy
says out '_BLOCK_128_W_1_BAD_0'
exits 0 "$TILUSC" test --on=vgpu scale.tvm
exits 0 "$TILUSC" test --on=vm scale.tvm
# counts say nothing of a real GPU; times of one do, for all of its architecture
exits 0 "$TILUSC" build scale.tvm --kernel=scale --arch=sm_90a
says out '.entry scale__BLOCK_128_W_1('
python - <<'EOF2'
import sqlite3
d = sqlite3.connect("tune.sqlite")
d.execute("update tuned set gpu = 'GPU', unit = 'us', best = 'BLOCK=256 W=8' where shape = 'n=1000'")
d.commit()
EOF2
exits 0 "$TILUSC" build scale.tvm --kernel=scale --arch=sm_90a --shape=n=1000
says out '.entry scale__BLOCK_256_W_8('
exits 0 "$TILUSC" build scale.tvm --kernel=scale --arch=sm_80 --shape=n=1000
says out '.entry scale__BLOCK_128_W_1('
exits 0 "$TILUSC" build scale.tvm --kernel=scale --arch=sm_90a --tune-db=none
says out '.entry scale__BLOCK_128_W_1('
exits 2 "$TILUSC" build scale.tvm --shape=n
says err "--shape takes NAME=NUMBER"

# wrong and faulty points
exits 0 $tune wrong n=300 $xy
says out 'K=2  WRONG: argument 3 differs'
says out '2 timed, 1 WRONG'
exits 0 $tune faulty n=300 $xy
says out 'K=1  failed:'
says out '1 timed, 1 failed'
exits 0 $tune faulty n=300 $xy
says out 'K=1  failed:'
says out '1 known, 1 failed'
for db in tune.sqlite none; do
    exits 0 $tune endless n=300 $xy --timeout=3 --tune-db=$db
    says out 'K=1  failed: does not end within 3 s'
    says out '3 of 3 points fit'
    says out '1 failed'
    says out 'best K='
done
# a check that fails: nothing is kept
exits 1 $tune wrong n=200 $xy --check='expect_equal(y, x * 5.0)'
says err 'nothing is kept'
exits 0 $tune wrong n=200 $xy
says out '2 timed'
exits 1 $tune picky n=300 $xy
says out '2 failed'
says err 'no point of the tuning space could be run'
exits 0 $tune fixed n=300 $xy
says out '1 of 1 points fit'

# another kernel makes the arguments
exits 0 "$TILUSC" tune --on=vgpu "$P/matmul_lowbit.tvm" matmul -D Q=u4 -D group=64 m=16 n=64 k=64 'a=random(f16[m,k],seed=1)' 'b=zeros(u8[4,8,64])' \
    's=random(f16[1,n],seed=2)' 'z=zeros(f16[1,n])' 'c=full(f16[m,n],NAN)' --before='let w = random(Q[k, n], seed = 3)' \
    --before='run pack[Q](k, n, w, b)' --check='expect_close(c, ref.matmul(a, w as f16 * ref.repeat(s, 64)), rtol = 2e-3)' --jobs=2
says out 'matmul: best WM='

# mistakes
exits 2 $tune
exits 1 $tune skale 1
says err "did you mean 'scale'?"
exits 1 $tune scale -D Q=3 n=10 f=1.0 $xy
exits 1 $tune scale n=10 f=1.0 'x=random(f16[n], seed=1)' 'y=zeros(f32[n])'
says err "the argument is"
exits 2 "$TILUSC" tune --on=vm scale.tvm scale 1
says err 'the VM has no times'
for each in n 'n=' '=1' 'n,f=1' 'n,f=1:2,3' 'n=1,,2'; do
    exits 2 $tune scale "--each=$each" f=2.0 $xy
    says err --each
done
exits 2 $tune scale --seconds=0 n=10 f=1.0 $xy

# databases that cannot be used: a warning
echo 'no database' >bad.sqlite
exits 0 $tune fixed --tune-db=bad.sqlite n=300 $xy
says err 'tilusc: warning: tuning database'
exits 0 $tune fixed --tune-db=/dev/null/x n=300 $xy
says err 'tilusc: warning: tuning database'
exits 0 "$TILUSC" profile --tune-db=bad.sqlite scale.tvm scale n=1100 f=2.0 $xy
says err 'tilusc: warning: tuning database'

# interruption: what is done is kept, and not done again
cp "$P/matmul.tvm" .
matmul="$TILUSC tune --on=vgpu --jobs=1 matmul.tvm matmul m=256 n=256 k=256 a=random(f16[m,k],seed=1) b=random(f16[k,n],seed=2) c=zeros(f16[m,n])"
$matmul >first 2>err </dev/null &
pid=$!
for i in $(seq 200); do
    [ "$(grep -c counts first)" -ge 2 ] && break
    sleep 0.1
done
kill -INT $pid
wait $pid
ok [ $? = 130 ]
says first 'interrupted; the same command goes on from here'
n=$(grep -c '^  .*counts$' first)
exits 0 $matmul --check='expect_close(c, ref.matmul(a, b), rtol = 2e-3)'
ok [ "$(grep -c '  known$' out)" = "$n" ]
says out '24 of 24 points fit'
finish
