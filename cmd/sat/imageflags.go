package main

import (
	"github.com/urfave/cli/v2"

	"sat/internal/data"
)

const imagesUsage = "X.npy (float32 [N,3,H,W] in [0,1]), or a folder or tar file of CLASS/FILE"

// folderFlags say how a folder of images is read.
func folderFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "split", Usage: "which split of an image folder", Value: "val"},
		&cli.StringFlag{Name: "list", Usage: "text file of lines FILE CLASS, for an image folder without class folders"},
		&cli.StringFlag{Name: "class-map", Usage: "text file of lines CLASS INDEX, instead of numbering the classes of a folder by name"},
	}
}

// folderOptions reads folderFlags.
func folderOptions(c *cli.Context) data.FolderOptions {
	return data.FolderOptions{Split: c.String("split"), List: c.String("list"), ClassMap: c.String("class-map")}
}
