# SPDX-License-Identifier: Apache-2.0
# fish completion of tilusc
set -l commands build run tune profile test fmt layout type quantize explain
complete -c tilusc -n "not __fish_seen_subcommand_from $commands" -f -a "$commands"
complete -c tilusc -n "__fish_seen_subcommand_from build" -l emit -x -a "tokens ast check ir layout llvm ptx sass cubin header"
complete -c tilusc -n "__fish_seen_subcommand_from build" -l arch -x -a "sm_80 sm_86 sm_89 sm_90 sm_90a native vm"
complete -c tilusc -n "__fish_seen_subcommand_from build" -l after -x
complete -c tilusc -n "__fish_seen_subcommand_from build" -l kernel -x
complete -c tilusc -n "__fish_seen_subcommand_from build" -l entry -x
complete -c tilusc -n "__fish_seen_subcommand_from build" -l time-passes
complete -c tilusc -n "__fish_seen_subcommand_from build" -l report
complete -c tilusc -n "__fish_seen_subcommand_from build run quantize" -s o -r
complete -c tilusc -n "__fish_seen_subcommand_from run tune test quantize" -l on -x -a "vm vgpu cuda auto"
complete -c tilusc -n "__fish_seen_subcommand_from run profile test" -l sanitize
complete -c tilusc -n "__fish_seen_subcommand_from run profile test" -l schedule -x
complete -c tilusc -n "__fish_seen_subcommand_from run tune profile test" -l arch -x -a "sm_80 sm_86 sm_89 sm_90a"
complete -c tilusc -n "__fish_seen_subcommand_from run tune profile" -l check -x
complete -c tilusc -n "__fish_seen_subcommand_from run tune profile" -l before -x
complete -c tilusc -n "__fish_seen_subcommand_from run profile" -l let -x
for option in each jobs seconds timeout tolerance
    complete -c tilusc -n "__fish_seen_subcommand_from tune" -l $option -x
end
complete -c tilusc -n "__fish_seen_subcommand_from tune" -l again
complete -c tilusc -n "__fish_seen_subcommand_from tune" -l export
complete -c tilusc -n "__fish_seen_subcommand_from build" -l shape -x
complete -c tilusc -n "__fish_seen_subcommand_from build run tune profile test" -l tune-db -r
complete -c tilusc -n "__fish_seen_subcommand_from test" -l filter -x
complete -c tilusc -n "__fish_seen_subcommand_from test" -l list
complete -c tilusc -n "__fish_seen_subcommand_from fmt" -l check
complete -c tilusc -n "__fish_seen_subcommand_from layout type explain profile" -l json
complete -c tilusc -n "__fish_seen_subcommand_from quantize" -l type -x -a "u2 u4 u8 i4 i8 f4e2m1 f6e3m2 f8e4m3"
complete -c tilusc -n "__fish_seen_subcommand_from quantize" -l pack
complete -c tilusc -n "__fish_seen_subcommand_from quantize" -l encode -x -a "f16 bf16"
complete -c tilusc -n "__fish_seen_subcommand_from quantize" -l transpose
complete -c tilusc -n "__fish_seen_subcommand_from build run tune test fmt quantize" -s D -x
complete -c tilusc -n "__fish_seen_subcommand_from build run tune test fmt quantize" -s I -r
complete -c tilusc -n "__fish_seen_subcommand_from explain" -f -a "(tilusc explain all 2>/dev/null | string replace -r ' .*' '')"
