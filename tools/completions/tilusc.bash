# SPDX-License-Identifier: Apache-2.0
# bash completion of tilusc
_tilusc() {
    local cur=${COMP_WORDS[COMP_CWORD]} cmd=${COMP_WORDS[1]} words
    local common='-D -I -O -g -Wperf -Werror -Rpass --color= --diagnostics= --verify --tune-db= --help'
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W 'build run tune profile test fmt layout type quantize explain --help --version' -- "$cur"))
        return
    fi
    case $cur in
    --emit=*) words='tokens ast check ir layout llvm ptx sass cubin header' ;;
    --arch=*) words='sm_80 sm_86 sm_89 sm_90 sm_90a native vm' ;;
    --on=*) words='vm vgpu cuda auto' ;;
    --color=*) words='auto always never' ;;
    --diagnostics=*) words='text json' ;;
    --scales=*) words='f16 bf16 f32' ;;
    --encode=*) words='f16 bf16' ;;
    --type=*) words='u1 u2 u3 u4 u5 u6 u7 u8 i2 i3 i4 i5 i6 i7 i8 f4e2m1 f6e3m2 f8e4m3 f8e5m2' ;;
    -*)
        case $cmd in
        build) words="-o --emit= --arch= --after= --kernel= --entry= -MD --ptx= --shape= --report --time-passes $common" ;;
        run) words="-o --on= --seed= --sanitize --arch= --check= --let= --before= $common" ;;
        tune) words="-o --on= --each= --again --jobs= --seconds= --timeout= --tolerance= --export --arch= --check= --let= --before= $common" ;;
        profile) words="-o --seed= --sanitize --arch= --check= --let= --before= --json $common" ;;
        test) words="--on= --seed= --sanitize --arch= --filter= --list $common" ;;
        fmt) words="--check $common" ;;
        quantize) words="-o --type= --group= --transpose --zero-points --scales= --pack --encode= --name= --on= $common" ;;
        *) words='--json --help' ;;
        esac
        compopt -o nospace 2>/dev/null
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        return
        ;;
    esac
    case $cur in
    --*=*)
        COMPREPLY=($(compgen -W "$words" -- "${cur#*=}"))
        [[ $COMP_WORDBREAKS == *=* ]] || COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}")
        ;;
    *)
        if [ "$cmd" = explain ]; then
            COMPREPLY=($(compgen -W "all $(tilusc explain all 2>/dev/null | cut -d' ' -f1)" -- "$cur"))
        else
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -f -- "$cur"))
        fi
        ;;
    esac
}
complete -F _tilusc tilusc
